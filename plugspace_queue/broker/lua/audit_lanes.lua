--[[
audit_lanes: compares lanes with ring, idx and gates; changes nothing.

ARGV[4]  most            entries read in this call
ARGV[5]  offset          in the first lane
ARGV[6]  and on          lanes

Returns  {lanes done, offset in the lane after them, findings (code, lane in a row)}; codes:
         lane_strange (on the ring or parked, but not a lane), lane_empty (on the ring or parked,
         without tasks), lane_doubled (on the ring and parked), lane_off (neither), lane_held
         (parked although no gate holds it), lane_strays (an entry that is doubled, missing in idx,
         or in another lane there)
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
local room = tonumber(ARGV[4])
local offset = tonumber(ARGV[5])

local findings = {}
local function found(code, lane)
    findings[#findings + 1] = code
    findings[#findings + 1] = lane
end

local function look_at_place(lane, length)
    local on_ring = redis.call("ZSCORE", ring_key, lane)
    local parked = redis.call("ZSCORE", parked_key, lane)
    local organization = organization_of(lane)
    if not is_lane(lane) then return found("lane_strange", lane) end
    if length == 0 then
        if on_ring or parked then found("lane_empty", lane) end
    elseif on_ring and parked then
        found("lane_doubled", lane)
    elseif not on_ring and not parked then
        found("lane_off", lane)
    elseif parked and not is_held(organization) then
        found("lane_held", lane)
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
    local length = ask_lane(0, "LLEN", lane)
    if offset == 0 then look_at_place(lane, length) end
    local ids = ask_lane({}, "LRANGE", lane, offset, offset + room - 1)
    if has_strays(lane, ids) then found("lane_strays", lane) end
    room = room - #ids - 1
    offset = offset + #ids
    if offset < length then break end
    done, offset = done + 1, 0
end
return {done, offset, findings}
