--[[
set_band: sets the band in which a running task waits if it returns to the queue.

ARGV[4]  id
ARGV[5]  band            0 to 3

Returns  1, or 0 when its job does not exist
]]
--@include _queue.lua
local key = job_key(ARGV[4])
if redis.call("HEXISTS", key, "psq_prio") == 0 then return 0 end
redis.call("HSET", key, "psq_prio", ARGV[5])
return 1
