--[[
audit_lanes: lanes against ring, idx and gates; nothing is changed.

ARGV[4]  most            entries looked at in this call
ARGV[5]  offset          in the first lane
ARGV[6]  and on          lanes

Returns  {lanes done, offset in the one after them, findings (word, lane in a row)}; words: strange
         (in order, but no lane), empty (in order, without tasks), both (on the ring and parked), off (neither), held (parked although
         nothing holds it), strays (an entry that idx knows elsewhere, not at all, or twice)
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
local room = tonumber(ARGV[4])
local offset = tonumber(ARGV[5])

local findings = {}
local function found(word, lane)
    findings[#findings + 1] = word
    findings[#findings + 1] = lane
end

local function look_at_place(lane, length)
    local on_ring = redis.call("ZSCORE", ring_key, lane)
    local parked = redis.call("ZSCORE", parked_key, lane)
    local organization = organization_of(lane)
    if not is_lane(lane) then return found("strange", lane) end
    if length == 0 then
        if on_ring or parked then found("empty", lane) end
    elseif on_ring and parked then
        found("both", lane)
    elseif not on_ring and not parked then
        found("off", lane)
    elseif parked and not is_held(organization) then
        found("held", lane)
    end
end

local function has_strays(lane, ids)
    if #ids == 0 then return false end
    local seen = {}
    for i, place in ipairs(redis.call("HMGET", idx_key, unpack(ids))) do
        if not place or string.match(place, "|(.*)$") ~= lane or seen[ids[i]] then return true end
        seen[ids[i]] = true
    end
    return false
end

local done = 0
for i = 6, #ARGV do
    if room <= 0 then break end
    local lane = ARGV[i]
    local length = redis.call("LLEN", lane_key(lane))
    if offset == 0 then look_at_place(lane, length) end
    local ids = redis.call("LRANGE", lane_key(lane), offset, offset + room - 1)
    if has_strays(lane, ids) then found("strays", lane) end
    room = room - #ids - 1
    offset = offset + #ids
    if offset < length then break end
    done, offset = done + 1, 0
end
return {done, offset, findings}
