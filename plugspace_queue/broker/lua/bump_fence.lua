#!lua flags=allow-oom
--[[
bump_fence: makes all later leases of the queue have fences above this one.

ARGV[4]  fence

Returns  1
]]
--@include _queue.lua
local fence = tonumber(ARGV[4])
if fence > last_fence() and fence <= MOST_FENCE then
    redis.call("HSET", meta_key, "fence", whole(fence))
end
return 1
