--[[
unlock: give a lock back, if it is still ours.

KEYS[1]  lock            string, the token of who holds it

ARGV[1]  token

Returns  1, or 0 when somebody else holds it
]]
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])
