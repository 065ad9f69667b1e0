--[[
set_band: let a task that runs come back into another band, should it come back.

ARGV[4]  id
ARGV[5]  band            0 to 3

Returns  1, or 0 when its job is gone
]]
--@include _queue.lua
local key = job_key(ARGV[4])
if redis.call("HEXISTS", key, "psq_prio") == 0 then return 0 end
redis.call("HSET", key, "psq_prio", ARGV[5])
return 1
