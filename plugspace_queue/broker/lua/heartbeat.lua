#!lua flags=allow-oom
--[[
heartbeat: records that a worker is alive and how many slots it has for this queue.

ARGV[4]  worker          its RQ name
ARGV[5]  slots           0: it has no processor for the queue; negative: it leaves

Returns  1
]]
--@include _queue.lua
local worker = ARGV[4]
local slots = tonumber(ARGV[5])
-- Ms for which names of dead workers are kept, and most of them that one call removes.
local REMEMBERED_MS = 3600000
local MOST_FORGOTTEN = 100

local function forget(names)
    if #names == 0 then return end
    write_anyway("ZREM", workers_key, unpack(names))
    write_anyway("HDEL", slots_key, unpack(names))
end

if slots < 0 then
    forget({worker})
    return 1
end
write_anyway("ZADD", workers_key, now, worker)
write_anyway("HSET", slots_key, worker, slots)
forget(redis.call(
    "ZRANGEBYSCORE", workers_key, "-inf", whole(now - REMEMBERED_MS), "LIMIT", 0, MOST_FORGOTTEN
))
return 1
