--[[
lines: some of the lanes of a queue and how many tasks wait in each; changes nothing.

ARGV[4]  which           ring or parked
ARGV[5]  cursor          0 at first, then what the last call gave
ARGV[6]  at once         lanes looked at, more or less

Returns  {cursor (0: no more), flat list: lane, tasks}; each call is of one moment, and a lane that
         is there all the while is in one of them at least.
]]
--@include _queue.lua
local key = ARGV[4] == "ring" and ring_key or parked_key
local cursor, members = unpack(redis.call("ZSCAN", key, ARGV[5], "COUNT", ARGV[6]))
local flat = {}
for i = 1, #members, 2 do
    flat[#flat + 1] = members[i]
    flat[#flat + 1] = redis.call("LLEN", lane_key(members[i]))
end
return {tonumber(cursor), flat}
