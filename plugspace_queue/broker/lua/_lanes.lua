-- The fair order: start-time fair queueing over the lanes of a ring; adding and removing tasks.
--
-- A lane with tasks is on the ring or parked, never both; its score is band * 2^44 + start tag.
-- With the weighted policy all bands share one clock and the score has no band; a task of band 0
-- to 3 costs 1/8, 1/4, 1/2, 1 of a unit.
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

-- A lane that ran empty continues with its finish tag. Lanes that are served from now on get higher
-- tags, so that its first task starts after at most one of each other lane.
local function enter(lane)
    local band = band_of(lane)
    local tag = virtual_time(band)
    local score = redis.pcall("ZSCORE", fin_key(band), lane)
    local fin = type(score) == "string" and tonumber(score) or 0
    if fin > tag then
        tag = fin
        advance("entry" .. band, tag)
    end
    to_ring(lane, tag)
end

-- Removes a lane that became empty without a start; its tag is kept for its next task.
local function leave(lane)
    local score = redis.call("ZSCORE", ring_key, lane) or redis.call("ZSCORE", parked_key, lane)
    if not score then return end
    redis.call("ZREM", ring_key, lane)
    redis.call("ZREM", parked_key, lane)
    if not is_lane(lane) then return end
    local band = band_of(lane)
    write_anyway("ZADD", fin_key(band), whole(tonumber(score) - base_of(band)), lane)
end

local function park(lane, score)
    redis.call("ZREM", ring_key, lane)
    redis.call("ZADD", parked_key, score, lane)
end

-- Returns a lane to the ring, not before lanes that were served meanwhile.
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

-- The lane of our job by the current fields of its hash; nil when they are missing or damaged.
local function lane_of_job(id)
    if not has_job(id) then return nil end
    local job = redis.call("HMGET", job_key(id), "psq_prio", "psq_org")
    local band, organization = job[1] or "", job[2] or ""
    local makes_sense = string.match(band, "^[0-3]$") and string.match(organization, "^[%w_-]+$")
    return makes_sense and band .. ":" .. organization
end

-- Fails before anything is written when a key has a wrong type. A script that failed half way would
-- lose the tasks it had already removed from another structure.
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
    if not some_parked then return end
    redis.call("ZCARD", parked_key)
    redis.call("SCARD", paused_key)
end

local function is_waiting(id) return redis.call("HEXISTS", idx_key, id) == 1 end

-- Its length now. A value of another type in the place of a lane is deleted, and the lane begins
-- anew where it stood in the order; reconciling finds those that it had.
local function push(command, lane, ...)
    local length = redis.pcall(command, lane_key(lane), ...)
    if type(length) == "number" then return length end
    redis.call("DEL", lane_key(lane))
    leave(lane)
    return redis.call(command, lane_key(lane), ...)
end

local function put(id, lane, front)
    local length = push(front and "LPUSH" or "RPUSH", lane, id)
    local index = redis.call("RPUSH", wait_key, id) - 1
    redis.call("HSET", idx_key, id, index .. "|" .. lane)
    if length == 1 then enter(lane) end
end

-- The same for many entries with id, band, organization and front.
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
            if push("LPUSH", lane, entry.id) == 1 then enter(lane) end
        else
            lines[lane] = lines[lane] or {}
            table.insert(lines[lane], entry.id)
        end
    end
    redis.call("RPUSH", wait_key, unpack(ids))
    redis.call("HSET", idx_key, unpack(places))
    for lane, line in pairs(lines) do
        if push("RPUSH", lane, unpack(line)) == #line then enter(lane) end
    end
end

-- Ids in idx to their lanes. For a damaged entry the lane of its job is used; without one the
-- entry is deleted, and the relay publishes the row again.
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

-- Rewrites `wait` from idx in its current order, after other code has changed it (RQ does a plain
-- LREM).
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

-- Whether `wait` has each id at its index in idx; one read for each run of adjacent indexes.
local function stand_where_said(ids, index_of)
    local sorted = {unpack(ids)}
    table.sort(sorted, function(a, b) return index_of[a] < index_of[b] end)
    local first = 1
    while first <= #sorted do
        local last, start = first, index_of[sorted[first]]
        while sorted[last + 1] and index_of[sorted[last + 1]] == start + last + 1 - first do
            last = last + 1
        end
        local listed = redis.call("LRANGE", wait_key, start, start + last - first)
        for i = first, last do
            if listed[i - first + 1] ~= sorted[i] then return false end
        end
        first = last + 1
    end
    return true
end

-- Ids at the end of `wait` that stay, and their places; nil when idx lacks the place of one.
local function staying_tail(length, index_of)
    local tail, staying = redis.call("LRANGE", wait_key, length, -1), {}
    for _, id in ipairs(tail) do
        if not index_of[id] then staying[#staying + 1] = id end
    end
    local place_of = read_many(idx_key, staying)
    for _, id in ipairs(staying) do
        if not place_in(place_of[id]) then return nil end
    end
    return staying, place_of
end

-- Moves the last ids of `wait` to the places of those that leave; false when `wait` and idx differ.
local function close_gaps(ids, index_of)
    local length = redis.call("LLEN", wait_key) - #ids
    if length < 0 or not stand_where_said(ids, index_of) then return false end
    local staying, place_of = staying_tail(length, index_of)
    if not staying then return false end
    local places, used = {}, 0
    for _, id in ipairs(ids) do
        local index = index_of[id]
        if index < length then
            used = used + 1
            local moved = staying[used]
            redis.call("LSET", wait_key, index, moved)
            places[#places + 1] = moved
            places[#places + 1] = whole(index) .. string.match(place_of[moved], "|.*$")
        end
    end
    redis.call("RPOP", wait_key, #ids)
    call_many("HSET", idx_key, places)
    return true
end

-- Removes ids from `wait` and idx, each in constant time. All of them must wait, and each is given
-- once. The caller removes them from their lanes' lists.
local function leave_wait_all(ids, place_of)
    local index_of = {}
    for _, id in ipairs(ids) do
        index_of[id] = tonumber((place_in(place_of[id]))) or 0
    end
    local is_done = close_gaps(ids, index_of)
    call_many("HDEL", idx_key, ids)
    if not is_done then rebuild_wait() end
end

-- The same for one. Returns its lane, or nil when it does not wait.
local function leave_wait(id)
    local place = redis.call("HGET", idx_key, id)
    if not place then return nil end
    local index, lane = place_in(place)
    if not index then
        rebuild_wait()
        return leave_wait(id)
    end
    leave_wait_all({id}, {[id] = place})
    return lane
end

-- Removes a waiting task from all structures; false when it does not wait.
local function withdraw_waiting(id)
    local lane = leave_wait(id)
    if not lane then return false end
    ask_lane(0, "LREM", lane, 1, id)
    if redis.call("EXISTS", lane_key(lane)) == 0 then leave(lane) end
    return true
end
