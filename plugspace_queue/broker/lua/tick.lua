#!lua flags=allow-oom
--[[
tick: renews a worker's leases, returns lost attempts to their lanes, promotes due tasks.

ARGV[4]  worker          its RQ name
ARGV[5]  lease           ms
ARGV[6]  reap            1 to end expired leases of any worker
ARGV[7]  refusal         message for jobs that are not ours, in RQ's encoding
ARGV[8]  and on          id, fence of each attempt that the worker knows

Returns  {lost ids, reaped (id, fence, worker in a row), ids handed back, foreign ids,
         ms until the next delayed one is due (0 = none)}
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
--@include _attempts.lua
local worker = ARGV[4]
local lease_ms = tonumber(ARGV[5])
local reap = ARGV[6] == "1"
local refusal = ARGV[7]
local MOST_REAPED = 100
-- A grant whose answer got lost is handed back when it was not renewed for this long.
local UNKNOWN_MS = 2000

local held, ids, lost = {}, {}, {}
for i = 8, #ARGV, 2 do
    ids[#ids + 1] = ARGV[i]
    held[ARGV[i]] = ARGV[i + 1]
end

local function renew_held()
    local owners, mine = owners_of(ids), {}
    for _, id in ipairs(ids) do
        local owner = owners[id]
        if owner and owner.fence == held[id] then
            mine[#mine + 1] = owner
        else
            lost[#lost + 1] = id
        end
    end
    renew_all(mine, lease_ms)
    write_anyway("ZADD", workers_key, "XX", whole(now), worker)
    redis.call("EXPIRE", worker_key(worker), RECORD_TTL + 60)
end

local function put_all_back(owners)
    close_all(owners)
    for _, owner in ipairs(owners) do put_back(owner.id, owner) end
end

local reaped = {}
local function reap_expired()
    local expired = redis.call(
        "ZRANGEBYSCORE", lease_key, "-inf", whole(now), "LIMIT", 0, MOST_REAPED
    )
    local owners, ended = owners_of(expired), {}
    for _, id in ipairs(expired) do
        local owner = owners[id]
        if owner then
            ended[#ended + 1] = owner
            for _, value in ipairs({id, owner.fence, owner.worker}) do
                reaped[#reaped + 1] = value
            end
        else
            redis.call("ZREM", lease_key, id)
        end
    end
    put_all_back(ended)
end

local function is_unknown(id, owner)
    if not owner or owner.worker ~= worker then return false end
    local lease_end = tonumber(redis.call("ZSCORE", lease_key, id) or "0")
    return lease_end < now + lease_ms - UNKNOWN_MS
end

local handed_back = {}
local function hand_back_unknown()
    local ended = {}
    -- Of a key of another type nothing is read; the next grant or renewal writes it anew.
    for _, member in ipairs(redis.pcall("SMEMBERS", worker_key(worker))) do
        local id = string.match(member, "^[^:]+")
        local owner = not held[id] and owner_of(id)
        if is_unknown(id, owner) then
            held[id] = owner.fence
            ended[#ended + 1] = owner
            handed_back[#handed_back + 1] = id
        end
    end
    put_all_back(ended)
end

-- Removes finish tags that the clock has passed, as they have no effect, and expired RQ entries.
local function trim()
    for band = 0, 3 do
        write_anyway("ZREMRANGEBYSCORE", fin_key(band), "-inf", whole(virtual_time(band)))
    end
    redis.call("ZREMRANGEBYSCORE", finished_key, 0, now_s)
    redis.call("ZREMRANGEBYSCORE", failed_key, 0, now_s)
end

-- Sets the marker again, as the worker that took it may have died or stopped before it acquired.
local function mark_if_open()
    if redis.call("EXISTS", ring_key) == 0 then return end
    if queue_concurrency() > 0 and queue_limiter() > 0 then mark() end
end

renew_held()
require_line()
if reap then reap_expired() end
hand_back_unknown()
adopt(refusal)
promote(refusal)
trim()
mark_if_open()
return {lost, reaped, handed_back, foreign, next_due()}
