--[[
lock: take a lock, or keep it for longer.

KEYS[1]  lock            string, the token of who holds it

ARGV[1]  token
ARGV[2]  time to live    ms

Returns  1 when it is ours now, 0 when somebody else holds it
]]
local holder = redis.call("GET", KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
