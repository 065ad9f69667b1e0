--[[
snapshot: stores the JSON of a task.

KEYS[1]  task            string

ARGV[1]  JSON
ARGV[2]  time to live    s; 0 = none

Returns  1
]]
if ARGV[2] == "0" then
    redis.call("SET", KEYS[1], ARGV[1])
else
    redis.call("SET", KEYS[1], ARGV[1], "EX", ARGV[2])
end
return 1
