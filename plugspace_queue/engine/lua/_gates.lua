-- The queue's own limits: how many starts they leave.

local function room_in_queue()
    if concurrency == 0 then return math.huge end
    return concurrency - redis.call("LLEN", active_key)
end

-- Starts still free in the running window; the list holds the start times within it.
local function room_in_window()
    if limiter == 0 then return math.huge end
    local oldest = redis.call("LINDEX", limiter_key, 0)
    while oldest and tonumber(oldest) <= now - limiter_ms do
        redis.call("LPOP", limiter_key)
        oldest = redis.call("LINDEX", limiter_key, 0)
    end
    return limiter - redis.call("LLEN", limiter_key)
end
