#!lua flags=allow-oom
--[[
settle: close attempts that this worker still owns, and write what came of them.

ARGV[4]  events kept     about
ARGV[5]  budget          bytes of values an organization may write, 0 = no limit
ARGV[6]  window          ms they are counted over
ARGV[7]  note            what stands for a result that is not kept; %s twice for the task's id
ARGV[8]  and on, 17 for each attempt: id, fence, outcome (ok, fail, retry, back, stopped, drop),
         snapshot ("" = leave it), members of it and the lean ones ("" = none), its ttl (s, 0 =
         none), result ("" = none, or too large), whether it is too large (1), whether snapshot
         and event are to tell it (1), result ttl (s), pointer to the result and failure (RQ's codings,
         "" = none), due (ms, 0 = now), event ("" = none), task type, counted (1)

Returns  one number for each: 1, or 0 when the token does not own it (nothing was written).
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
--@include _attempts.lua
--@include _payloads.lua
local events_kept = ARGV[4]
local note = ARGV[7]
local FIRST, FIELDS = 8, 17

local function read(i)
    return {
        id = ARGV[i], fence = ARGV[i + 1], outcome = ARGV[i + 2], snapshot = ARGV[i + 3],
        all = ARGV[i + 4], lean = ARGV[i + 5], snapshot_ttl = ARGV[i + 6],
        result = ARGV[i + 7], is_large = ARGV[i + 8] == "1", is_told = ARGV[i + 9] == "1",
        result_ttl = ARGV[i + 10], pointer = ARGV[i + 11], failure = ARGV[i + 12],
        due = tonumber(ARGV[i + 13]), event = ARGV[i + 14], type = ARGV[i + 15],
        counted = ARGV[i + 16] == "1"
    }
end

local function keep(key, value, ttl)
    if ttl ~= "0" then redis.call("SET", key, value, "EX", ttl) else redis.call("SET", key, value) end
end

local function write_result(one, owner, kind)
    local key = results_key(one.id)
    local name, coded = "return_value", one.pointer
    if kind == "2" then name, coded = "exc_string", one.failure end
    if coded == "" then
        redis.call(
            "XADD", key, "MAXLEN", "10", "*", "type", kind, "worker_name", owner.worker,
            "execution_id", owner.execution, "execution_started_at", started_of(owner),
            "execution_ended_at", now_s
        )
    else
        redis.call(
            "XADD", key, "MAXLEN", "10", "*", "type", kind, "worker_name", owner.worker,
            "execution_id", owner.execution, "execution_started_at", started_of(owner),
            "execution_ended_at", now_s, name, coded
        )
    end
    redis.call("EXPIRE", key, one.result_ttl)
end

-- Ends and ids, in a row, for RQ's registries: written once for all.
local registered = {}
local expiries = {}

-- Numbers are costly to put into words: once for each time to live.
local function expiry(ttl)
    expiries[ttl] = expiries[ttl] or string.format("%.6f", now_us / 1000000 + ttl)
    return expiries[ttl]
end

local function register(key, one)
    local entries = registered[key] or {}
    registered[key] = entries
    entries[#entries + 1] = expiry(one.result_ttl)
    entries[#entries + 1] = one.id
end

-- As RQ ends a job: status, registry, result, and a time to live; none of it with a ttl of 0.
local function finish(one, owner, status, registry_key, kind)
    if not one.is_kept then return redis.call("DEL", job_key(one.id)) end
    note_job(one.id, "status", status, "ended_at", utc_now())
    redis.call("EXPIRE", job_key(one.id), one.result_ttl)
    register(registry_key, one)
    write_result(one, owner, kind)
end

local completed, failed = 0, 0

local ends = {
    ok = function(one, owner)
        finish(one, owner, "finished", finished_key, "1")
        if one.is_kept and (one.result ~= "" or one.is_large) then
            local kept = one.fits and one.result or string.format(note, one.id, one.id)
            keep(ours .. ":result:" .. one.id .. ":" .. one.type, kept, one.result_ttl)
        end
        if one.counted then completed = completed + 1 end
    end,
    fail = function(one, owner)
        finish(one, owner, "failed", failed_key, "2")
        if one.counted then failed = failed + 1 end
    end,
    stopped = function(one, owner)
        finish(one, owner, "stopped", failed_key, "2")
    end,
    retry = function(one, owner)
        if one.due <= now then return put_back(one.id, owner) end
        note_job(one.id, "status", "scheduled", "psq_front", "1")
        delay(one.id, one.due)
    end,
    back = function(one, owner) put_back(one.id, owner) end,
    drop = function(one) redis.call("DEL", job_key(one.id)) end
}

limit_payloads(ARGV[5], ARGV[6])
local attempts = {}
for i = FIRST, #ARGV, FIELDS do
    local one = read(i)
    local result_ttl = tonumber(one.result_ttl)
    if not (ends[one.outcome] and one.due and tonumber(one.snapshot_ttl) and result_ttl) then
        return redis.error_reply("ERR settle: attempt " .. #attempts .. " is not valid")
    end
    one.is_kept = result_ttl > 0
    attempts[#attempts + 1] = one
end

-- A result counts once, though its key, the snapshot and the event hold it: all of them or none.
local function with_result(one, text, members)
    return with(text, members, one.is_told and one.fits and one.result, one.is_told)
end

local function write_snapshot(one, organization)
    if one.snapshot == "" then return end
    local members = values_of(one.id, organization, one.all, one.lean)
    keep(task_key(one.id), with_result(one, one.snapshot, members), one.snapshot_ttl)
end

-- One that is no longer than the note in its place costs no more than that: it is not counted.
local function has_room(one, organization)
    if one.result == "" then return false end
    return #one.result <= #note or fits(organization, #one.result)
end

local function settle(one, owner)
    local organization = organization_of(owner.lane)
    one.fits = has_room(one, organization)
    ends[one.outcome](one, owner)
    write_snapshot(one, organization)
    if one.event ~= "" then
        tell(with_result(one, one.event, ""), events_kept)
    end
end

-- Which of them this worker owns still, as 1 or 0; their owners.
local function owned()
    local ids, answers, found = {}, {}, {}
    for i, one in ipairs(attempts) do ids[i] = one.id end
    local owners = owners_of(ids)
    for i, one in ipairs(attempts) do
        local owner = owners[one.id]
        local is_mine = owner and owner.fence == one.fence
        answers[i] = is_mine and 1 or 0
        if is_mine then
            one.owner = owner
            found[#found + 1] = owner
            owners[one.id] = nil
        end
    end
    return answers, found
end

-- As in require_line: an attempt that ended half way would be refused when it is settled again.
local function require_ends()
    require_line()
    redis.call("ZCARD", finished_key)
    redis.call("ZCARD", failed_key)
    redis.call("ZCARD", delayed_key)
end

require_ends()
local answers, owners = owned()
close_all(owners)
for _, one in ipairs(attempts) do
    if one.owner then settle(one, one.owner) end
end
for key, entries in pairs(registered) do call_many("ZADD", key, entries) end
-- All is written by now: a count that is no number begins anew, and reconciling puts it right.
local function count(field, number)
    if number == 0 then return end
    local answer = redis.pcall("HINCRBY", meta_key, field, number)
    if type(answer) == "table" and answer.err then
        redis.call("HSET", meta_key, field, number)
    end
end
keep_accounts()
count("completed", completed)
count("failed", failed)
mark_if_held()
return answers
