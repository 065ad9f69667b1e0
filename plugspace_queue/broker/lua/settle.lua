#!lua flags=allow-oom
--[[
settle: closes attempts that this worker still owns, and writes their results.

ARGV[4]  events kept     approximate length of the stream
ARGV[5]  budget          bytes of values an organization may write, 0 = no limit
ARGV[6]  window          ms over which they are counted
ARGV[7]  note            replaces a result that is not stored; %s twice for the task's id
ARGV[8]  and on, 17 for each attempt: id, fence, outcome (ok, fail, retry, back, stopped, drop),
         snapshot ("" = unchanged), its members and the lean ones ("" = none), its ttl (s, 0 =
         none), result ("" = none, or too large), whether it is too large (1), whether to add it to
         snapshot and event (1), result ttl (s), pointer to the result and failure (RQ's encodings,
         "" = none), due (ms, 0 = now), event ("" = none), task type, counted (1)

Returns  one number for each: 1, or 0 when the fence does not own it (nothing was written).
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
--@include _attempts.lua
--@include _payloads.lua
local events_kept = ARGV[4]
local note = ARGV[7]

-- The fields of an attempt are read from ARGV directly, as a table for each would cost more than
-- most of the commands. `at` is the index of its first field.
local FIRST, FIELDS = 8, 17
local ID, FENCE, OUTCOME, SNAPSHOT, ALL, LEAN, SNAPSHOT_TTL = 0, 1, 2, 3, 4, 5, 6
local RESULT, IS_LARGE, IS_TOLD, RESULT_TTL, POINTER, FAILURE = 7, 8, 9, 10, 11, 12
local DUE, EVENT, TYPE, COUNTED = 13, 14, 15, 16

local function keep(key, value, ttl)
    if ttl ~= "0" then redis.call("SET", key, value, "EX", ttl) else redis.call("SET", key, value) end
end

local function write_result(at, owner, kind)
    local key, name, coded = results_key(owner.id), "return_value", ARGV[at + POINTER]
    if kind == "2" then name, coded = "exc_string", ARGV[at + FAILURE] end
    if coded == "" then
        write_anyway(
            "XADD", key, "MAXLEN", "10", "*", "type", kind, "worker_name", owner.worker,
            "execution_id", owner.execution, "execution_started_at", started_of(owner),
            "execution_ended_at", now_s
        )
    else
        write_anyway(
            "XADD", key, "MAXLEN", "10", "*", "type", kind, "worker_name", owner.worker,
            "execution_id", owner.execution, "execution_started_at", started_of(owner),
            "execution_ended_at", now_s, name, coded
        )
    end
    redis.call("EXPIRE", key, ARGV[at + RESULT_TTL])
end

-- Scores and ids, in a row, for RQ's registries: written once for all attempts.
local registered = {}
local expiries = {}

-- Cached per time to live, as formatting numbers is expensive.
local function expiry(ttl)
    expiries[ttl] = expiries[ttl] or string.format("%.6f", now_us / 1000000 + ttl)
    return expiries[ttl]
end

local function register(key, id, ttl)
    local entries = registered[key] or {}
    registered[key] = entries
    entries[#entries + 1] = expiry(ttl)
    entries[#entries + 1] = id
end

local function is_kept(at) return tonumber(ARGV[at + RESULT_TTL]) > 0 end

-- Ends a job as RQ does: status, registry, result, time to live; with a ttl of 0 it is deleted.
local function finish(at, owner, status, registry_key, kind)
    local id, ttl = owner.id, ARGV[at + RESULT_TTL]
    if not is_kept(at) then return redis.call("DEL", job_key(id)) end
    note_job(id, "status", status, "ended_at", utc_now())
    redis.call("EXPIRE", job_key(id), ttl)
    register(registry_key, id, ttl)
    write_result(at, owner, kind)
end

local function keep_result(at, id, fits_budget)
    local result = ARGV[at + RESULT]
    if not is_kept(at) or (result == "" and ARGV[at + IS_LARGE] ~= "1") then return end
    local kept = fits_budget and result or string.format(note, id, id)
    keep(ours .. ":result:" .. id .. ":" .. ARGV[at + TYPE], kept, ARGV[at + RESULT_TTL])
end

local completed, failed = 0, 0

local ends = {
    ok = function(at, owner, fits_budget)
        finish(at, owner, "finished", finished_key, "1")
        keep_result(at, owner.id, fits_budget)
        if ARGV[at + COUNTED] == "1" then completed = completed + 1 end
    end,
    fail = function(at, owner)
        finish(at, owner, "failed", failed_key, "2")
        if ARGV[at + COUNTED] == "1" then failed = failed + 1 end
    end,
    stopped = function(at, owner)
        finish(at, owner, "stopped", failed_key, "2")
    end,
    retry = function(at, owner)
        local due = tonumber(ARGV[at + DUE])
        if due <= now then return put_back(owner.id, owner) end
        note_job(owner.id, "status", "scheduled", "psq_front", "1")
        delay(owner.id, due)
    end,
    back = function(_, owner) put_back(owner.id, owner) end,
    drop = function(_, owner) redis.call("DEL", job_key(owner.id)) end
}

limit_payloads(ARGV[5], ARGV[6])
for at = FIRST, #ARGV, FIELDS do
    local is_valid = ends[ARGV[at + OUTCOME]] and tonumber(ARGV[at + DUE])
        and tonumber(ARGV[at + SNAPSHOT_TTL]) and tonumber(ARGV[at + RESULT_TTL])
    if not is_valid then
        local number = (at - FIRST) / FIELDS
        return redis.error_reply("ERR settle: attempt " .. number .. " is not valid")
    end
end

-- A result that is not longer than the note that would replace it is not counted.
local function has_room(result, organization)
    if result == "" then return false end
    return #result <= #note or fits(organization, #result)
end

-- A result is counted once, although it is stored in its key, the snapshot and the event: in all of
-- them or in none.
local function settle(at, owner)
    local organization = organization_of(owner.lane)
    local result, is_told = ARGV[at + RESULT], ARGV[at + IS_TOLD] == "1"
    local fits_budget = has_room(result, organization)
    local told = is_told and fits_budget and result
    ends[ARGV[at + OUTCOME]](at, owner, fits_budget)
    if ARGV[at + SNAPSHOT] ~= "" then
        local members = values_of(owner.id, organization, ARGV[at + ALL], ARGV[at + LEAN])
        local text = with(ARGV[at + SNAPSHOT], members, told, is_told)
        keep(task_key(owner.id), text, ARGV[at + SNAPSHOT_TTL])
    end
    if ARGV[at + EVENT] ~= "" then tell(with(ARGV[at + EVENT], "", told, is_told), events_kept) end
end

-- The answers (1 or 0) for all attempts; owners and indexes of those that are still owned, each
-- once.
local function owned()
    local ids, answers, found, places = {}, {}, {}, {}
    for at = FIRST, #ARGV, FIELDS do ids[#ids + 1] = ARGV[at + ID] end
    local owners = owners_of(ids)
    for i, id in ipairs(ids) do
        local at, owner = FIRST + (i - 1) * FIELDS, owners[id]
        local is_mine = owner and owner.fence == ARGV[at + FENCE]
        answers[i] = is_mine and 1 or 0
        if is_mine then
            found[#found + 1] = owner
            places[#places + 1] = at
            owners[id] = nil
        end
    end
    return answers, found, places
end

-- As in require_line: an attempt that was closed half way would be refused when it is settled
-- again.
local function require_ends()
    require_line()
    redis.call("ZCARD", finished_key)
    redis.call("ZCARD", failed_key)
    redis.call("ZCARD", delayed_key)
end

require_ends()
local answers, owners, places = owned()
close_all(owners)
for i, owner in ipairs(owners) do settle(places[i], owner) end
for key, entries in pairs(registered) do call_many("ZADD", key, entries) end
-- A damaged count must not fail the script, as all else is written: it is reset, and the reconciler
-- corrects it.
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
