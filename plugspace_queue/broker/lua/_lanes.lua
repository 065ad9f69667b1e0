-- The fair order: lanes on a ring, start-time fair queueing over them, tasks in and out of lines.
--
-- A lane with tasks is on the ring or parked, never both; its score is band * 2^44 + start tag.
-- Weighted: one clock for all bands, and no band in the score; a task of band 0 to 3 costs
-- 1/8, 1/4, 1/2, 1 of a unit.
local BAND = 17592186044416
local UNIT = 64
local WEIGHTS = {[0] = 8, [1] = 4, [2] = 2, [3] = 1}

local clocks = {}

local function band_of(lane) return tonumber(string.sub(lane, 1, 1)) end
local function organization_of(lane) return string.sub(lane, 3) end
local function base_of(band) return weighted and 0 or band * BAND end
local function clock_of(band) return weighted and "all" or tostring(band) end

local function clock(name)
    if not clocks[name] then
        clocks[name] = tonumber(redis.call("HGET", clocks_key, name) or "0") or 0
    end
    return clocks[name]
end

local function advance(name, tag)
    if tag <= clock(name) then return end
    clocks[name] = tag
    redis.call("HSET", clocks_key, name, whole(tag))
end

local function virtual_time(band) return clock(clock_of(band)) end

local function to_ring(lane, tag)
    redis.call("ZADD", ring_key, whole(base_of(band_of(lane)) + tag), lane)
end

-- A lane that ran empty goes on where it stopped. Whoever is served from now on comes behind it,
-- so that its first task starts after at most one of each other lane.
local function enter(lane)
    local band = band_of(lane)
    local tag = virtual_time(band)
    local fin = tonumber(redis.call("ZSCORE", fin_key(band), lane) or "0")
    if fin > tag then
        tag = fin
        advance("entry" .. band, tag)
    end
    to_ring(lane, tag)
end

-- The lane is empty without its task having started; it keeps its place in the order.
local function leave(lane)
    local score = redis.call("ZSCORE", ring_key, lane) or redis.call("ZSCORE", parked_key, lane)
    if not score then return end
    redis.call("ZREM", ring_key, lane)
    redis.call("ZREM", parked_key, lane)
    if not is_lane(lane) then return end
    local band = band_of(lane)
    redis.call("ZADD", fin_key(band), whole(tonumber(score) - base_of(band)), lane)
end

local function park(lane, score)
    redis.call("ZREM", ring_key, lane)
    redis.call("ZADD", parked_key, score, lane)
end

-- Back on the ring, not before those that waited meanwhile.
local function unpark(lane, score)
    local band = band_of(lane)
    redis.call("ZREM", parked_key, lane)
    to_ring(lane, math.max(tonumber(score) - base_of(band), virtual_time(band)))
    mark()
end

local some_parked = redis.call("EXISTS", parked_key) == 1
local function unpark_organization(organization)
    if not some_parked or is_held(organization) then return end
    for band = 0, 3 do
        local lane = band .. ":" .. organization
        local score = redis.call("ZSCORE", parked_key, lane)
        if score then unpark(lane, score) end
    end
end

-- One task of the lane starts: the clock moves to its tag, the lane to the next one.
local function charge(lane, score)
    local band = band_of(lane)
    local tag = tonumber(score) - base_of(band)
    local next_tag = tag + UNIT
    if weighted then
        next_tag = tag + UNIT / WEIGHTS[band]
    else
        next_tag = math.max(next_tag, clock("entry" .. band) + 1)
    end
    advance(clock_of(band), tag)
    if redis.call("EXISTS", lane_key(lane)) == 1 then
        to_ring(lane, next_tag)
    else
        redis.call("ZREM", ring_key, lane)
        redis.call("ZADD", fin_key(band), whole(next_tag), lane)
    end
end

-- The lane of a job of ours by what its hash says now; nil when it says nothing that makes sense.
local function lane_of_job(id)
    if not has_job(id) then return nil end
    local job = redis.call("HMGET", job_key(id), "psq_prio", "psq_org")
    local band, organization = job[1] or "", job[2] or ""
    local makes_sense = string.match(band, "^[0-3]$") and string.match(organization, "^[%w_-]+$")
    return makes_sense and band .. ":" .. organization
end

-- How many run of an organization. A count that is no number begins anew; reconciling puts it right.
local function count_running(organization, change)
    local count = redis.pcall("HINCRBY", running_key, organization, change)
    if type(count) == "number" then return count end
    redis.call("HDEL", running_key, organization)
    return redis.call("HINCRBY", running_key, organization, change)
end

-- Fails before anything is written when a place of the line is of a wrong type: a script that
-- stumbled over it half way would lose what it had taken out of another place.
local function require_line()
    redis.call("LLEN", wait_key)
    redis.call("HLEN", idx_key)
    redis.call("LLEN", active_key)
    redis.call("HLEN", own_key)
    redis.call("ZCARD", lease_key)
    redis.call("HLEN", running_key)
    redis.call("LLEN", limiter_key)
    redis.call("ZCARD", ring_key)
    redis.call("HLEN", clocks_key)
    redis.call("ZCARD", wip_key)
end

local function is_waiting(id) return redis.call("HEXISTS", idx_key, id) == 1 end

local function put(id, lane, front)
    local length = redis.call(front and "LPUSH" or "RPUSH", lane_key(lane), id)
    local index = redis.call("RPUSH", wait_key, id) - 1
    redis.call("HSET", idx_key, id, index .. "|" .. lane)
    if length == 1 then enter(lane) end
end

-- Many at once: entries with id, band, organization and front.
local function put_all(entries)
    if #entries == 0 then return end
    local ids, places, lines = {}, {}, {}
    local length = redis.call("LLEN", wait_key)
    for i, entry in ipairs(entries) do
        local lane = entry.band .. ":" .. entry.organization
        ids[i] = entry.id
        places[#places + 1] = entry.id
        places[#places + 1] = (length + i - 1) .. "|" .. lane
        if entry.front then
            if redis.call("LPUSH", lane_key(lane), entry.id) == 1 then enter(lane) end
        else
            lines[lane] = lines[lane] or {}
            table.insert(lines[lane], entry.id)
        end
    end
    redis.call("RPUSH", wait_key, unpack(ids))
    redis.call("HSET", idx_key, unpack(places))
    for lane, line in pairs(lines) do
        if redis.call("RPUSH", lane_key(lane), unpack(line)) == #line then enter(lane) end
    end
end

-- Ids that idx knows, to their lanes. An entry that is no place gives way: to the lane of its job,
-- or to nothing, and then the relay publishes its row again.
local function lanes_by_idx()
    local known, lanes = redis.call("HGETALL", idx_key), {}
    for i = 1, #known, 2 do
        local id = known[i]
        local _, lane = place_in(known[i + 1])
        lanes[id] = lane or lane_of_job(id)
        if not lanes[id] then redis.call("HDEL", idx_key, id) end
    end
    return lanes
end

-- Somebody changed `wait` behind our back (RQ's own code does a plain LREM): write it anew from
-- what idx knows, in the order it has.
local function rebuild_wait()
    local listed = redis.call("LRANGE", wait_key, 0, -1)
    local lanes, ids = lanes_by_idx(), {}
    for _, id in ipairs(listed) do
        if lanes[id] then
            ids[#ids + 1] = {id, lanes[id]}
            lanes[id] = nil
        end
    end
    for id, lane in pairs(lanes) do ids[#ids + 1] = {id, lane} end
    redis.call("DEL", wait_key)
    local names, places = {}, {}
    for index, pair in ipairs(ids) do
        names[#names + 1] = pair[1]
        places[#places + 1] = pair[1]
        places[#places + 1] = (index - 1) .. "|" .. pair[2]
        if #names == 1000 or index == #ids then
            redis.call("RPUSH", wait_key, unpack(names))
            redis.call("HSET", idx_key, unpack(places))
            names, places = {}, {}
        end
    end
end

-- Out of `wait` and idx in constant time: the last one takes its place. Returns its lane, or
-- nil when it does not wait. The lane's own list is the caller's.
local function leave_wait(id)
    local place = redis.call("HGET", idx_key, id)
    if not place then return nil end
    local index, lane = place_in(place)
    if not index then
        rebuild_wait()
        return leave_wait(id)
    end
    local tail = redis.call("RPOP", wait_key)
    if tail ~= id then
        local tail_place = tail and redis.call("HGET", idx_key, tail)
        if not place_in(tail_place) or redis.call("LINDEX", wait_key, index) ~= id then
            if tail then redis.call("RPUSH", wait_key, tail) end
            rebuild_wait()
            return leave_wait(id)
        end
        redis.call("LSET", wait_key, index, tail)
        redis.call("HSET", idx_key, tail, index .. string.match(tail_place, "|.*$"))
    end
    redis.call("HDEL", idx_key, id)
    return lane
end

-- Out of the line altogether, from anywhere in it; false when it does not wait.
local function withdraw_waiting(id)
    local lane = leave_wait(id)
    if not lane then return false end
    redis.call("LREM", lane_key(lane), 1, id)
    if redis.call("EXISTS", lane_key(lane)) == 0 then leave(lane) end
    return true
end
