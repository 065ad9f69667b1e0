#!lua flags=allow-oom
--[[
configure: sets the gates of a queue; a change of the policy recomputes the tags of all lanes.

ARGV[4]  paused          1 or 0
ARGV[5]  concurrency     most running tasks, over all workers; 0 = no limit
ARGV[6]  limiter         starts per window; 0 = no limit
ARGV[7]  window          ms
ARGV[8]  organization    most running tasks of one organization; 0 = no limit
ARGV[9]  weighted        1 or 0
ARGV[10] version         whole number, rising with every change of the limits
ARGV[11] overridden      JSON: until when a gate's limit is overridden (ms); "" for none

Returns  1, or 0 when a newer version is stored
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
local new_weighted = ARGV[9] == "1"
local version = ARGV[10]

local function latest_clock()
    local latest = 0
    for _, tag in ipairs(redis.call("HVALS", clocks_key)) do
        latest = math.max(latest, tonumber(tag) or 0)
    end
    return latest
end

-- Each lane keeps its distance to the clock of its band, and so its place within the band.
local function tag_anew(key, start)
    local lanes = redis.call("ZRANGE", key, 0, -1, "WITHSCORES")
    local batch = {}
    for i = 1, #lanes, 2 do
        if is_lane(lanes[i]) then
            local band = band_of(lanes[i])
            local ahead = math.max(tonumber(lanes[i + 1]) - base_of(band) - virtual_time(band), 0)
            local base = new_weighted and 0 or band * BAND
            batch[#batch + 1] = whole(base + start + ahead)
            batch[#batch + 1] = lanes[i]
        end
        if #batch >= CHUNK or #batch > 0 and i + 1 >= #lanes then
            redis.call("ZADD", key, unpack(batch))
            batch = {}
        end
    end
end

local function change_policy()
    local start = latest_clock()
    tag_anew(ring_key, start)
    tag_anew(parked_key, start)
    redis.call("DEL", clocks_key)
    for band = 0, 3 do
        redis.call("DEL", fin_key(band))
        redis.call("HSET", clocks_key, new_weighted and "all" or band, whole(start))
    end
end

local known = tonumber(redis.call("HGET", meta_key, "version") or "0") or 0
if tonumber(version) < known then return 0 end
if new_weighted ~= weighted then change_policy() end
redis.call(
    "HSET", meta_key, "paused", ARGV[4], "concurrency", ARGV[5], "limiter", ARGV[6],
    "limiter_ms", ARGV[7], "org_cap", ARGV[8], "weighted", ARGV[9],
    "version", version, "overridden", ARGV[11]
)
if ARGV[6] == "0" then redis.call("DEL", limiter_key) end

paused = ARGV[4] == "1"
org_cap = tonumber(ARGV[8])
weighted = new_weighted
clocks = {}
local parked = redis.call("ZRANGE", parked_key, 0, -1)
for _, lane in ipairs(parked) do unpark_organization(organization_of(lane)) end
if redis.call("EXISTS", ring_key) == 1 or redis.call("EXISTS", delayed_key) == 1 then mark() end
return 1
