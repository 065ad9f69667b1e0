--[[
lines: some lanes of a queue and how many tasks wait in each; changes nothing.

ARGV[4]  which           ring or parked
ARGV[5]  cursor          0 at first, then the cursor that the last call returned
ARGV[6]  at once         approximate number of lanes read

Returns  {cursor (0: no more), flat list: lane, tasks}; a lane that exists during all calls is
         returned at least once.
]]
--@include _queue.lua
local key = ARGV[4] == "ring" and ring_key or parked_key
local cursor, members = unpack(redis.call("ZSCAN", key, ARGV[5], "COUNT", ARGV[6]))
local flat = {}
for i = 1, #members, 2 do
    flat[#flat + 1] = members[i]
    flat[#flat + 1] = ask_lane(0, "LLEN", members[i])
end
return {tonumber(cursor), flat}
