#!lua flags=allow-oom
--[[
pause_organization: pauses or resumes an organization.

Its lanes in this queue are parked at once; those in other queues when an acquire reaches them.

ARGV[4]  organization
ARGV[5]  paused          1 or 0

Returns  1
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
local organization = ARGV[4]

local function park_lanes()
    for band = 0, 3 do
        local lane = band .. ":" .. organization
        local score = redis.call("ZSCORE", ring_key, lane)
        if score then park(lane, score) end
    end
end

if ARGV[5] == "1" then
    redis.call("SADD", paused_key, organization)
    park_lanes()
else
    redis.call("SREM", paused_key, organization)
    unpark_organization(organization)
end
return 1
