--[[
gauge: the state of a queue, for display; changes nothing.

ARGV[4]  most            lanes read on the ring, and as many of the parked ones

Returns  {waiting, active, delayed, starts in the window, waiting by band (4), lanes not read,
         flat list: tier, organization, id, waiting since (RQ's text) of the task that has waited
         longest in each tier}; only the first task of each lane is compared. All of one moment.
]]
--@include _queue.lua
local most = tonumber(ARGV[4])
local bands = {0, 0, 0, 0}
local oldest, seen = {}, 0

-- Binary search, as start times are ordered; only acquire removes those before the window.
local function starts_in_window()
    if limiter == 0 then return 0 end
    local low, high = 0, redis.call("LLEN", limiter_key)
    local held = high
    while low < high do
        local middle = math.floor((low + high) / 2)
        if (tonumber(redis.call("LINDEX", limiter_key, middle)) or 0) <= now - limiter_ms then
            low = middle + 1
        else
            high = middle
        end
    end
    return held - low
end

local function compare(organization, id)
    local since = redis.call("HGET", job_key(id), "enqueued_at")
    if not since then return end
    local found = redis.pcall("GET", ours .. ":org:" .. organization .. ":tier")
    local tier = type(found) == "string" and found or ""
    local known = oldest[tier]
    if not known or since < known[4] then oldest[tier] = {tier, organization, id, since} end
end

local function look(lane)
    if not is_lane(lane) then return end
    local length = ask_lane(0, "LLEN", lane)
    local band = tonumber(string.sub(lane, 1, 1)) + 1
    bands[band] = bands[band] + length
    seen = seen + 1
    local first = ask_lane(nil, "LINDEX", lane, 0)
    if first then compare(string.sub(lane, 3), first) end
end

local lanes = 0
for _, key in ipairs({ring_key, parked_key}) do
    lanes = lanes + redis.call("ZCARD", key)
    for _, lane in ipairs(redis.call("ZRANGE", key, 0, most - 1)) do look(lane) end
end
local flat = {}
for _, row in pairs(oldest) do
    for i = 1, 4 do flat[#flat + 1] = row[i] end
end
return {
    redis.call("LLEN", wait_key), redis.call("LLEN", active_key), redis.call("ZCARD", delayed_key),
    starts_in_window(), bands, lanes - seen, flat
}
