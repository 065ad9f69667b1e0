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
        all = ARGV[i + 4], lean = ARGV[i + 5], snapshot_ttl = tonumber(ARGV[i + 6]),
        result = ARGV[i + 7], is_large = ARGV[i + 8] == "1", is_told = ARGV[i + 9] == "1",
        result_ttl = tonumber(ARGV[i + 10]), pointer = ARGV[i + 11], failure = ARGV[i + 12],
        due = tonumber(ARGV[i + 13]), event = ARGV[i + 14], type = ARGV[i + 15],
        counted = ARGV[i + 16] == "1"
    }
end

local function keep(key, value, ttl)
    if ttl > 0 then redis.call("SET", key, value, "EX", ttl) else redis.call("SET", key, value) end
end

local function write_result(one, owner, kind, started)
    local key = results_key(one.id)
    local fields = {
        "type", kind, "worker_name", owner.worker, "execution_id", owner.execution,
        "execution_started_at", started, "execution_ended_at", now_s
    }
    local coded = kind == "1" and {"return_value", one.pointer} or {"exc_string", one.failure}
    if coded[2] ~= "" then
        fields[#fields + 1] = coded[1]
        fields[#fields + 1] = coded[2]
    end
    redis.call("XADD", key, "MAXLEN", "10", "*", unpack(fields))
    redis.call("EXPIRE", key, one.result_ttl)
end

-- As RQ ends a job: status, registry, result, and a time to live; none of it with a ttl of 0.
local function finish(one, owner, status, registry_key, kind, started)
    if one.result_ttl <= 0 then return redis.call("DEL", job_key(one.id)) end
    note_job(one.id, "status", status, "ended_at", utc_now())
    redis.call("EXPIRE", job_key(one.id), one.result_ttl)
    redis.call("ZADD", registry_key, now_s + one.result_ttl, one.id)
    write_result(one, owner, kind, started)
end

local completed, failed = 0, 0

local ends = {
    ok = function(one, owner, started)
        finish(one, owner, "finished", finished_key, "1", started)
        if one.result_ttl > 0 and (one.result ~= "" or one.is_large) then
            local kept = one.fits and one.result or string.format(note, one.id, one.id)
            keep(ours .. ":result:" .. one.id .. ":" .. one.type, kept, one.result_ttl)
        end
        if one.counted then completed = completed + 1 end
    end,
    fail = function(one, owner, started)
        finish(one, owner, "failed", failed_key, "2", started)
        if one.counted then failed = failed + 1 end
    end,
    stopped = function(one, owner, started)
        finish(one, owner, "stopped", failed_key, "2", started)
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
    if not (ends[one.outcome] and one.due and one.snapshot_ttl and one.result_ttl) then
        return redis.error_reply("ERR settle: attempt " .. #attempts .. " is not valid")
    end
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

local function settle(one)
    local owner = owner_of(one.id)
    if not owner or owner.fence ~= one.fence then return 0 end
    local organization = organization_of(owner.lane)
    one.fits = one.result ~= "" and fits(organization, #one.result)
    local started = close(one.id, owner)
    ends[one.outcome](one, owner, started)
    write_snapshot(one, organization)
    if one.event ~= "" then
        tell(with_result(one, one.event, ""), events_kept)
    end
    return 1
end

-- As in require_line: an attempt that ended half way would be refused when it is settled again.
local function require_ends()
    require_line()
    redis.call("ZCARD", finished_key)
    redis.call("ZCARD", failed_key)
    redis.call("ZCARD", delayed_key)
end

require_ends()
local answers = {}
for i, one in ipairs(attempts) do answers[i] = settle(one) end
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
