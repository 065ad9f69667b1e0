-- Plans the next turns on a copy of the head of the ring, so that each structure is read once and
-- written once, however many tasks start. Nothing is written until all turns are known.
--
-- A turn starts the first task of the first lane: the clock moves to the lane's tag, the lane to
-- its next tag. `turns` has id and lane of each turn, `lanes` the state of all lanes that were
-- read.

-- Most lanes parked in one search, and most invalid members removed from the ring; the next call
-- does the rest.
local MOST_PARKED = 200
-- Least number of lanes read at a time when the head of the ring was not enough.
local LANES_AT_ONCE = 50

local plan

-- Byte by byte, as Redis orders equal scores; Lua's own comparison depends on the locale.
local function is_before(a, b)
    for i = 1, math.min(#a, #b) do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then return x < y end
    end
    return #a < #b
end

local function is_served_before(one, other)
    if one.score ~= other.score then return one.score < other.score end
    return is_before(one.name, other.name)
end

local function new_lane(name, score)
    local band = band_of(name)
    return {
        name = name, score = score, band = band, base = base_of(band),
        organization = organization_of(name), ids = {}, used = 0
    }
end

-- Reads the next part of the ring: as many lanes as turns are wanted, as no more can have one.
local function read_ring()
    local size = plan.read == 0 and plan.room or math.max(plan.room, LANES_AT_ONCE)
    local found = redis.call("ZRANGE", ring_key, plan.read, plan.read + size - 1, "WITHSCORES")
    plan.is_all = #found < 2 * size
    plan.read = plan.read + #found / 2
    plan.head, plan.at = {}, 1
    local organizations = {}
    for i = 1, #found, 2 do
        if is_lane(found[i]) then
            local lane = new_lane(found[i], tonumber(found[i + 1]))
            plan.head[#plan.head + 1] = lane
            organizations[#organizations + 1] = lane.organization
        else
            plan.strange[#plan.strange + 1] = found[i]
        end
    end
    if org_cap > 0 then read_running(organizations) end
    plan.share = math.ceil(plan.room / math.max(#plan.head, 1)) + 1
end

-- Takes the first lane of two lists: lanes that had no turn yet, and lanes that had one and have
-- more tasks.
local function next_lane()
    while plan.at > #plan.head and not plan.is_all and #plan.strange < MOST_PARKED do read_ring() end
    local fresh, again = plan.head[plan.at], plan.again[plan.first]
    if fresh and not (again and is_served_before(again, fresh)) then
        plan.at = plan.at + 1
        return fresh
    elseif again then
        plan.first = plan.first + 1
    end
    return again
end

-- Inserts a lane in order by insertion sort; mostly its place is the end.
local function come_again(lane)
    local line, place = plan.again, #plan.again + 1
    while place > plan.first and is_served_before(lane, line[place - 1]) do
        line[place] = line[place - 1]
        place = place - 1
    end
    line[place] = lane
end

-- The first lane that no gate of its organization holds; held lanes before it are parked.
local function first_lane()
    for _ = 1, MOST_PARKED do
        local lane = next_lane()
        if not lane then return nil end
        if not is_held(lane.organization) then return lane end
        lane.is_parked = true
        plan.lanes[lane.name] = lane
    end
    return nil
end

-- The lane's next task, or nil; ids are read in parts of about as many as it may have turns.
local function next_task(lane)
    if lane.used == #lane.ids and not lane.is_read then
        local size = math.max(plan.share, lane.used)
        local found = ask_lane({}, "LRANGE", lane.name, lane.used, lane.used + size - 1)
        for _, id in ipairs(found) do lane.ids[#lane.ids + 1] = id end
        lane.is_read = #found < size
    end
    return lane.ids[lane.used + 1]
end

local function move_on(lane)
    local tag = lane.score - lane.base
    local next_tag = tag + UNIT
    if weighted then
        next_tag = tag + UNIT / WEIGHTS[lane.band]
    else
        next_tag = math.max(next_tag, clock("entry" .. lane.band) + 1)
    end
    local name = clock_of(lane.band)
    plan.clocks[name] = math.max(plan.clocks[name] or clock(name), tag)
    lane.score = lane.base + next_tag
end

local function take_turn(lane)
    plan.turns[#plan.turns + 1] = {id = next_task(lane), lane = lane}
    plan.lanes[lane.name] = lane
    count_running(lane.organization, 1)
    lane.used = lane.used + 1
    move_on(lane)
    if next_task(lane) then come_again(lane) else lane.is_empty = true end
end

-- Plans at most `room` turns. A lane on the ring without tasks is damage and is removed.
local function plan_turns(room)
    plan = {
        room = room, turns = {}, lanes = {}, clocks = {}, head = {}, at = 1, read = 0,
        again = {}, first = 1, strange = {}
    }
    added = {}
    while #plan.turns < room do
        local lane = first_lane()
        if not lane then break end
        if next_task(lane) then
            take_turn(lane)
        else
            lane.is_empty = true
            plan.lanes[lane.name] = lane
        end
    end
    return plan.turns
end

local function keep_clocks()
    local tags = {}
    for name, tag in pairs(plan.clocks) do
        if tag > clock(name) then
            clocks[name] = tag
            tags[#tags + 1] = name
            tags[#tags + 1] = whole(tag)
        end
    end
    call_many("HSET", clocks_key, tags)
end

-- Writes what the turns have changed: lanes' lists, ring, finish tags, clocks.
local function keep_turns()
    local on_ring, off_ring, parked, finished = {}, {}, {}, {}
    for name, lane in pairs(plan.lanes) do
        local into = lane.is_parked and parked or on_ring
        if lane.is_empty then
            finished[lane.band] = finished[lane.band] or {}
            into = finished[lane.band]
        end
        local tag = lane.is_empty and lane.score - lane.base or lane.score
        into[#into + 1] = whole(tag)
        into[#into + 1] = name
        if into ~= on_ring then off_ring[#off_ring + 1] = name end
        if lane.used > 0 then redis.call("LPOP", lane_key(name), lane.used) end
    end
    call_many("ZADD", ring_key, on_ring)
    call_many("ZREM", ring_key, off_ring)
    call_many("ZREM", ring_key, plan.strange)
    call_many("ZADD", parked_key, parked)
    for band, tags in pairs(finished) do write_many_anyway("ZADD", fin_key(band), tags) end
    keep_clocks()
end

-- Removes an id that cannot start from its lane. Of a doubled id only the later one is removed, and
-- `wait` is left as it is.
local function pass_over(turn)
    local lane = turn.lane.name
    if not turn.is_double then leave_wait(turn.id) end
    redis.call("LREM", lane_key(lane), turn.is_double and -1 or 1, turn.id)
    if redis.call("EXISTS", lane_key(lane)) == 0 then leave(lane) end
end
