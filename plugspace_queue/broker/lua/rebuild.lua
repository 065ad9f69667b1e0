#!lua flags=allow-oom
--[[
rebuild: rewrites a queue's structures from idx (waiting) and own (running), atomically.

ARGV[4]  lease           ms of the lease given to an owner without one; a dead one is then reaped
ARGV[5]  wait            1: `wait` too, in time proportional to the queue's length; else 0
ARGV[6]  and on          lanes; without any, the structures of running attempts and the last fence

Returns  1; a lane keeps the order of its entries without duplicates; invalid members are removed
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _running.lua
local lease_ms = tonumber(ARGV[4])

local function count_of(owned, organization)
    local count = 0
    for _, owner in pairs(owned) do
        if organization_of(owner.lane) == organization then count = count + 1 end
    end
    return count
end

-- Repairs by code of the difference; arguments: its key, the key's entry in `own`, all entries.
local rebuild = {}

function rebuild.active_differs(id, owner)
    redis.call("LREM", active_key, 0, id)
    if owner then redis.call("RPUSH", active_key, id) end
end

function rebuild.lease_differs(id, owner)
    redis.call("ZREM", lease_key, id)
    if owner then redis.call("ZADD", lease_key, whole(now + lease_ms), id) end
end

function rebuild.record_differs(member, _, owned)
    local owner = owned[string.match(member, "^[^:]+")]
    redis.call("ZREM", wip_key, member)
    if owner and owner.member == member then redis.call("ZADD", wip_key, "+inf", member) end
end

-- A running task must not wait; the end of its attempt decides whether it waits again.
function rebuild.runs_and_waits(id)
    redis.call("ZREM", delayed_key, id)
    withdraw_waiting(id)
end

function rebuild.running_count(organization, _, owned)
    local count = count_of(owned, organization)
    if count > 0 then
        redis.call("HSET", running_key, organization, count)
    else
        redis.call("HDEL", running_key, organization)
    end
    unpark_organization(organization)
end

local function rebuild_running()
    local wrong = {}
    local owned = compare_running(function(code, key) wrong[#wrong + 1] = {code, key} end)
    for _, one in ipairs(wrong) do rebuild[one[1]](one[2], owned[one[2]], owned) end
end

local function entries_of(lane)
    local listed, kept, seen = ask_lane({}, "LRANGE", lane, 0, -1), {}, {}
    in_chunks(listed, function(ids)
        for i, place in ipairs(redis.call("HMGET", idx_key, unpack(ids))) do
            local belongs = place and string.match(place, "|(.*)$") == lane
            if belongs and not seen[ids[i]] then kept[#kept + 1] = ids[i] end
            seen[ids[i]] = true
        end
    end)
    return kept, #kept ~= #listed
end

local function rewrite(lane)
    local kept, is_changed = entries_of(lane)
    if is_changed then
        redis.call("DEL", lane_key(lane))
        call_many("RPUSH", lane_key(lane), kept)
    end
    return #kept
end

local function place(lane, length)
    local on_ring = redis.call("ZSCORE", ring_key, lane)
    local parked = redis.call("ZSCORE", parked_key, lane)
    if length == 0 or not is_lane(lane) then return leave(lane) end
    if on_ring and parked then redis.call("ZREM", parked_key, lane) end
    if not on_ring and not parked then
        enter(lane)
        mark()
    elseif parked and not on_ring then
        unpark_organization(organization_of(lane))
    end
end

if #ARGV < 6 then
    if last_fence() == 0 then redis.call("HDEL", meta_key, "fence") end
    rebuild_running()
end
if ARGV[5] == "1" then rebuild_wait() end
for i = 6, #ARGV do place(ARGV[i], rewrite(ARGV[i])) end
return 1
