#!lua flags=allow-oom
--[[
settle: close attempts that this worker still owns, and write what came of them.

ARGV[4]  events kept     about
ARGV[5]  and on, 13 for each attempt: id, fence, outcome (ok, fail, retry, back, stopped, drop),
         snapshot ("" = leave it), its ttl (s, 0 = none), result ("" = none), result ttl (s),
         pointer to the result and failure (RQ's codings, "" = none), due (ms, 0 = now),
         event ("" = none), task type, counted (1)

Returns  one number for each: 1, or 0 when the token does not own it (nothing was written).
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
--@include _attempts.lua
local events_kept = ARGV[4]
local FIELDS = 13

local function read(i)
    return {
        id = ARGV[i], fence = ARGV[i + 1], outcome = ARGV[i + 2], snapshot = ARGV[i + 3],
        snapshot_ttl = tonumber(ARGV[i + 4]), result = ARGV[i + 5],
        result_ttl = tonumber(ARGV[i + 6]), pointer = ARGV[i + 7], failure = ARGV[i + 8],
        due = tonumber(ARGV[i + 9]), event = ARGV[i + 10], type = ARGV[i + 11],
        counted = ARGV[i + 12] == "1"
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
        if one.result ~= "" then
            keep(ours .. ":result:" .. one.id .. ":" .. one.type, one.result, one.result_ttl)
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

local attempts = {}
for i = 5, #ARGV, FIELDS do
    local one = read(i)
    if not (ends[one.outcome] and one.due and one.snapshot_ttl and one.result_ttl) then
        return redis.error_reply("ERR settle: attempt " .. #attempts .. " is not valid")
    end
    attempts[#attempts + 1] = one
end

local function settle(one)
    local owner = owner_of(one.id)
    if not owner or owner.fence ~= one.fence then return 0 end
    local started = close(one.id, owner)
    ends[one.outcome](one, owner, started)
    if one.snapshot ~= "" then keep(task_key(one.id), one.snapshot, one.snapshot_ttl) end
    if one.event ~= "" then
        redis.call("XADD", events_key, "MAXLEN", "~", events_kept, "*", "event", one.event)
    end
    return 1
end

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
count("completed", completed)
count("failed", failed)
mark_if_held()
return answers
