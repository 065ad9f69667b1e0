--[[
hit_request_window: counts one request, unless the window is full.

KEYS[1]  request window  string, requests so far

ARGV[1]  limit           requests per window
ARGV[2]  window          length in ms

Returns  {1 when counted, used, ms until the window ends}
]]
local window_key = KEYS[1]
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])

local used = tonumber(redis.call("GET", window_key) or "0")
local left = redis.call("PTTL", window_key)
-- A key without a time to live would keep the window full for ever.
if used > 0 and left < 0 then
    redis.call("PEXPIRE", window_key, window)
    left = window
end
if used >= limit then
    return {0, used, used > 0 and math.max(left, 1) or window}
end
if used == 0 then
    redis.call("SET", window_key, 1, "PX", window)
    return {1, 1, window}
end
return {1, redis.call("INCR", window_key), math.max(left, 1)}
