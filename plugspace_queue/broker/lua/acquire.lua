#!lua flags=allow-oom
--[[
acquire: give a worker leases on the next tasks in fair order, or say which gate is shut.

ARGV[4]  worker          its RQ name
ARGV[5]  wanted          most tasks
ARGV[6]  lease           ms
ARGV[7]  refusal         message for jobs that are not ours, in RQ's encoding

Returns  {status, ms until the worker should ask again (0 = when woken), leases, foreign ids};
         a lease is id, fence, execution, organization, band in a row.

An execution's name is its start (us, 16 hexadecimal digits) and its fence (16 more). RQ's records
of it are written by the next tick if it still runs then.
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
--@include _turns.lua
local worker = ARGV[4]
local wanted = tonumber(ARGV[5])
local lease_ms = tonumber(ARGV[6])
local refusal = ARGV[7]

local function answer(status, retry_ms, leases)
    return {status, retry_ms, leases or {}, foreign}
end

local function earliest(a, b)
    if a == 0 or b == 0 then return math.max(a, b) end
    return math.min(a, b)
end

-- Turns of ids that are not in idx, or that are in their lane twice.
local function misplaced_turns(turns, place_of)
    local found, seen = {}, {}
    for _, turn in ipairs(turns) do
        turn.is_double = seen[turn.id]
        if turn.is_double or not place_of[turn.id] then found[#found + 1] = turn end
        seen[turn.id] = true
    end
    return found
end

-- Writes the start into a job. False when there is no job: RQ's own code has deleted it, or its
-- key has a wrong type. No read is needed before: an existing job has one of these fields already.
local function write_job(id)
    local key, started = job_key(id), utc_now()
    local new = redis.pcall(
        "HSET", key, "status", "started", "started_at", started, "last_heartbeat", started,
        "worker_name", worker
    )
    if type(new) == "table" and new.err then return false end
    if new < 4 or redis.call("HLEN", key) > 4 then return true end
    redis.call("DEL", key)
    return false
end

local function jobless_turns(turns)
    local found = {}
    for _, turn in ipairs(turns) do
        if not write_job(turn.id) then found[#found + 1] = turn end
    end
    return found
end

-- Turns of tasks that can all start, with their ids and places. Ids that cannot start are removed
-- without using a turn, and the turns are planned again.
local function startable_turns(room)
    while true do
        local turns, ids = plan_turns(room), {}
        for i, turn in ipairs(turns) do ids[i] = turn.id end
        local place_of = read_many(idx_key, ids)
        local useless = misplaced_turns(turns, place_of)
        if #useless == 0 then useless = jobless_turns(turns) end
        if #useless == 0 then return turns, ids, place_of end
        for _, turn in ipairs(useless) do pass_over(turn) end
    end
end

local function write_starts(ids)
    if limiter == 0 then return end
    local starts = {}
    for i = 1, #ids do starts[i] = whole(now) end
    call_many("RPUSH", limiter_key, starts)
end

local function grant(turns, ids, place_of)
    local fence, owners, ends, members, leases = math.max(last_fence(), now_us - 1), {}, {}, {}, {}
    local executions, lease_end = {}, whole(now + lease_ms)
    for i, turn in ipairs(turns) do
        local id, lane = turn.id, turn.lane
        fence = fence + 1
        local token, execution = whole(fence), string.format("%016x%016x", now_us, fence)
        local j, k = 2 * i, 5 * i
        executions[i] = id .. ":" .. execution
        owners[j - 1], owners[j] = id, token .. "|" .. lane.name .. "|" .. worker .. "|" .. execution
        ends[j - 1], ends[j] = lease_end, id
        members[j - 1], members[j] = "+inf", executions[i]
        leases[k - 4], leases[k - 3], leases[k - 2] = id, token, execution
        leases[k - 1], leases[k] = lane.organization, lane.band
    end
    leave_wait_all(ids, place_of)
    call_many("RPUSH", active_key, ids)
    call_many("HSET", own_key, owners)
    call_many("ZADD", lease_key, ends)
    call_many("ZADD", wip_key, members)
    write_starts(ids)
    write_many_anyway("SADD", worker_key(worker), executions)
    redis.call("EXPIRE", worker_key(worker), RECORD_TTL + 60)
    redis.call("HSET", meta_key, "fence", whole(fence))
    return leases
end

require_line()
adopt(refusal)
promote(refusal)
local shut, rooms = shut_queue_gate()
if shut then return answer(shut.answer, opens_in(shut)) end

local in_queue, in_window = rooms.queue_concurrency, rooms.queue_limiter
local turns, ids, place_of = startable_turns(math.min(wanted, in_queue, in_window))
local leases = #turns > 0 and grant(turns, ids, place_of)
keep_turns()
keep_running()

local retry_ms = next_due()
if redis.call("EXISTS", ring_key) == 1 then
    if #turns >= in_window then
        retry_ms = earliest(retry_ms, until_window_opens())
    elseif #turns < in_queue then
        mark()
    end
end
return answer(#turns > 0 and "ok" or "empty", retry_ms, leases)
