#!lua flags=allow-oom
--[[
empty: removes waiting tasks, a chunk per call; delayed and running ones stay.

ARGV[4]  most            tasks in this call

Returns  their ids; call it again until there are none.
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
local ids = redis.call("LRANGE", wait_key, -tonumber(ARGV[4]), -1)
for _, id in ipairs(ids) do
    withdraw_waiting(id)
    redis.call("DEL", job_key(id))
end
return ids
