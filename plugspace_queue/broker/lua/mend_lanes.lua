#!lua flags=allow-oom
--[[
mend_lanes: write lanes anew from what idx says of their entries, and put them where they belong.

ARGV[4]  and on          lanes

Returns  1; what is no lane leaves the order, a lane keeps the order of its entries, each once
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
local function entries_of(lane)
    local listed, kept, seen = redis.call("LRANGE", lane_key(lane), 0, -1), {}, {}
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

for i = 4, #ARGV do place(ARGV[i], rewrite(ARGV[i])) end
return 1
