--[[
keep_export: stores the bytes of an export if its organization's budget has room for them.

KEYS[1]  export          string
KEYS[2]  description     hash
KEYS[3]  exports         hash, the organization's bytes by time of expiry

ARGV[1]  data
ARGV[2]  time to live    s
ARGV[3]  budget          bytes that an organization may store at once, 0 = no limit
ARGV[4]  step            s; exports that expire within the same step are counted together
ARGV[5]  and on          fields of the description and their values

Returns  1, or 0 when there is no room and nothing was written
]]
local data, ttl = ARGV[1], tonumber(ARGV[2])
local budget, step = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local counted = redis.pcall("HGETALL", KEYS[3])
local is_broken = counted.err ~= nil
local sum, here, over = 0, 0, {}
local expires = string.format("%.0f", math.ceil((now + ttl) / step))
for i = 1, is_broken and 0 or #counted, 2 do
    local bytes = tonumber(counted[i + 1]) or 0
    if (tonumber(counted[i]) or 0) * step <= now then
        over[#over + 1] = counted[i]
    else
        sum = sum + bytes
        if counted[i] == expires then here = bytes end
    end
end
if budget > 0 and sum + #data > budget then return 0 end

if is_broken then redis.call("DEL", KEYS[3]) end
for _, field in ipairs(over) do redis.call("HDEL", KEYS[3], field) end
redis.call("HSET", KEYS[3], expires, string.format("%.0f", here + #data))
redis.call("EXPIRE", KEYS[3], math.max(redis.call("TTL", KEYS[3]), ttl + step))
redis.call("SET", KEYS[1], data, "EX", ttl)
redis.call("DEL", KEYS[2])
redis.call("HSET", KEYS[2], unpack(ARGV, 5))
redis.call("EXPIRE", KEYS[2], ttl)
return 1
