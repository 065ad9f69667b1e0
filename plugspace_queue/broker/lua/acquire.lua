#!lua flags=allow-oom
--[[
acquire: give a worker leases on the next tasks in fair order, or say which gate is shut.

ARGV[4]  worker          its RQ name
ARGV[5]  wanted          tasks at most
ARGV[6]  lease           ms
ARGV[7]  refusal         RQ's coding of the message for jobs that are not ours

Returns  {status, ms until worth asking again (0 = when woken), leases, foreign ids};
         a lease is id, fence, execution, organization, band in a row.
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
local worker = ARGV[4]
local wanted = tonumber(ARGV[5])
local lease_ms = tonumber(ARGV[6])
local refusal = ARGV[7]
-- Lanes set aside in one call, and members of the ring that are none dropped; with more, the rest is done by the next one.
local MOST_PARKED = 200

local function answer(status, retry_ms, leases)
    return {status, retry_ms, leases or {}, foreign}
end

local function earliest(a, b)
    if a == 0 or b == 0 then return math.max(a, b) end
    return math.min(a, b)
end

local function first_lane()
    for _ = 1, MOST_PARKED do
        local first = redis.call("ZRANGE", ring_key, 0, 0, "WITHSCORES")
        local lane, score = first[1], first[2]
        if not lane then return nil end
        if not is_lane(lane) then
            redis.call("ZREM", ring_key, lane)
        elseif is_held(organization_of(lane)) then
            park(lane, score)
        else
            return lane, score
        end
    end
    return nil
end

local fence = now_us
local function next_fence()
    fence = fence + 1
    return whole(fence)
end

local function write_records(id, execution)
    local record = execution_key(id, execution)
    note_job(
        id, "status", "started", "started_at", utc_now(),
        "last_heartbeat", utc_now(), "worker_name", worker
    )
    redis.call(
        "HSET", record, "id", execution, "job_id", id, "created_at", now_s,
        "last_heartbeat", now_s, "worker_name", worker
    )
    redis.call("EXPIRE", record, RECORD_TTL)
    redis.call("ZADD", executions_key(id), now_s + RECORD_TTL + 60, execution)
    redis.call("EXPIRE", executions_key(id), RECORD_TTL + 60)
end

local ids, owners, ends, members, starts, leases = {}, {}, {}, {}, {}, {}
local function grant(id, lane)
    local token = next_fence()
    local execution = string.format("%032x", fence)
    local member = id .. ":" .. execution
    write_records(id, execution)
    count_running(organization_of(lane), 1)
    ids[#ids + 1] = id
    starts[#starts + 1] = whole(now)
    owners[#owners + 1] = id
    owners[#owners + 1] = token .. "|" .. lane .. "|" .. worker .. "|" .. execution
    ends[#ends + 1] = whole(now + lease_ms)
    ends[#ends + 1] = id
    members[#members + 1] = "+inf"
    members[#members + 1] = member
    for _, value in ipairs({id, token, execution, organization_of(lane), band_of(lane)}) do
        leases[#leases + 1] = value
    end
end

-- The next task of the lane; what lost its job hash (deleted by RQ's own code) is passed over.
local function take(lane, score)
    local id = redis.call("LPOP", lane_key(lane))
    if not id then return leave(lane) end
    local waited = leave_wait(id)
    if waited and has_job(id) then
        charge(lane, score)
        grant(id, lane)
    elseif redis.call("EXISTS", lane_key(lane)) == 0 then
        leave(lane)
    end
end

local function write_batch()
    if #ids == 0 then return end
    redis.call("RPUSH", active_key, unpack(ids))
    redis.call("HSET", own_key, unpack(owners))
    redis.call("ZADD", lease_key, unpack(ends))
    redis.call("ZADD", wip_key, unpack(members))
    if limiter > 0 then redis.call("RPUSH", limiter_key, unpack(starts)) end
    local executions = {}
    for i = 2, #members, 2 do executions[#executions + 1] = members[i] end
    redis.call("SADD", worker_key(worker), unpack(executions))
    redis.call("EXPIRE", worker_key(worker), RECORD_TTL + 60)
    redis.call("HSET", meta_key, "fence", whole(fence))
end

require_line()
adopt(refusal)
promote(refusal)
local shut, rooms = shut_queue_gate()
if shut then return answer(shut.answer, opens_in(shut)) end

fence = math.max(last_fence(), now_us - 1)
local in_queue, in_window = rooms.queue_concurrency, rooms.queue_limiter
local room = math.min(wanted, in_queue, in_window)
while #ids < room do
    local lane, score = first_lane()
    if not lane then break end
    take(lane, score)
end
write_batch()

local retry_ms = next_due()
if redis.call("EXISTS", ring_key) == 1 then
    if #ids >= in_window then
        retry_ms = earliest(retry_ms, until_window_opens())
    elseif #ids < in_queue then
        mark()
    end
end
return answer(#ids > 0 and "ok" or "empty", retry_ms, leases)
