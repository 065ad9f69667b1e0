-- The gates between a waiting task and its start, shared by acquire and explain.
--
-- A gate returns how many starts it allows (0 or less: it is shut), its current count, and its
-- limit. `of_lane` gates apply to one organization; the others hold the whole queue, and `answer`
-- is the status that acquire returns then. `opens` returns the ms until the gate opens by itself
-- (0: it needs an event). An `of_ready` gate holds the queue only while a lane is on the ring, as
-- otherwise nothing could start anyway. To add a gate, add it here in its place.

-- Set by scripts that must not write: they count expired starts instead of removing them.
local reads_only = false
local OPEN = math.huge
local UNCONFIGURED_MS = 250

local function queue_pause() return paused and 0 or OPEN end

local some_paused
local is_paused = {}
local function organization_pause(organization)
    if some_paused == nil then some_paused = redis.call("EXISTS", paused_key) == 1 end
    if not some_paused then return OPEN end
    if is_paused[organization] == nil then
        is_paused[organization] = redis.call("SISMEMBER", paused_key, organization) == 1
    end
    return is_paused[organization] and 0 or OPEN
end

local function queue_concurrency()
    if concurrency == 0 then return OPEN end
    local running = redis.call("LLEN", active_key)
    return concurrency - running, running, concurrency
end

-- A damaged start time counts as an old one.
local function is_old_start(index)
    local start = redis.call("LINDEX", limiter_key, index)
    return start and (tonumber(start) or 0) <= now - limiter_ms
end

local STARTS_AT_ONCE = 200

local function drop_old_starts()
    while is_old_start(0) do
        local old = 0
        for _, start in ipairs(redis.call("LRANGE", limiter_key, 0, STARTS_AT_ONCE - 1)) do
            if (tonumber(start) or 0) > now - limiter_ms then break end
            old = old + 1
        end
        redis.call("LPOP", limiter_key, old)
    end
    return 0
end

-- By binary search, as the list is ordered by time.
local function count_old_starts()
    local low, high = 0, redis.call("LLEN", limiter_key)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if is_old_start(middle) then low = middle + 1 else high = middle end
    end
    return low
end

-- The list holds the start times within the window, preceded by some older ones.
local function queue_limiter()
    if limiter == 0 then return OPEN end
    local old = reads_only and count_old_starts() or drop_old_starts()
    local starts = redis.call("LLEN", limiter_key) - old
    return limiter - starts, starts, limiter
end

-- Ms until the next start is allowed, when the window holds `limiter` starts or more.
local function until_window_opens()
    local held = redis.call("LLEN", limiter_key)
    local last_in_the_way = redis.call("LINDEX", limiter_key, held - limiter)
    return math.max((tonumber(last_in_the_way) or now) + limiter_ms - now, 1)
end

-- Running tasks of each organization: the stored count, and the change by this call. A damaged
-- count starts from 0; the reconciler corrects it.
local stored, added = {}, {}

local function read_running(organizations)
    for organization, count in pairs(read_many(running_key, organizations)) do
        stored[organization] = string.match(count or "", "^%-?%d+$") and tonumber(count) or 0
    end
end

local function count_running(organization, change)
    added[organization] = (added[organization] or 0) + change
end

local function running_of(organization)
    if not stored[organization] then read_running({organization}) end
    return stored[organization] + (added[organization] or 0)
end

-- Writes the changed counts; to be called once, after the last change.
local function keep_running()
    local unread, counts, gone = {}, {}, {}
    for organization in pairs(added) do
        if not stored[organization] then unread[#unread + 1] = organization end
    end
    read_running(unread)
    for organization in pairs(added) do
        local count = running_of(organization)
        if count > 0 then
            counts[#counts + 1] = organization
            counts[#counts + 1] = whole(count)
        else
            gone[#gone + 1] = organization
        end
        stored[organization] = math.max(count, 0)
    end
    added = {}
    call_many("HSET", running_key, counts)
    call_many("HDEL", running_key, gone)
end

local function organization_concurrency(organization)
    if org_cap == 0 then return OPEN end
    local running = running_of(organization)
    return org_cap - running, running, org_cap
end

local GATES = {
    {name = "queue_paused", room = queue_pause, answer = "paused"},
    {name = "organization_paused", room = organization_pause, of_lane = true},
    {name = "queue_concurrency", room = queue_concurrency, answer = "full"},
    {
        name = "queue_limiter", room = queue_limiter, answer = "limited",
        opens = until_window_opens, of_ready = true
    },
    {name = "organization_concurrency", room = organization_concurrency, of_lane = true}
}

-- A server that lost its data has no settings, so it is unknown whether the gates are open.
local UNCONFIGURED = {
    name = "unconfigured", answer = "unconfigured", opens = function() return UNCONFIGURED_MS end
}

local function holds_queue(gate, room)
    if room > 0 then return false end
    return not gate.of_ready or redis.call("EXISTS", ring_key) == 1
end

-- The first gate that holds the whole queue, or nil and the number of starts that each allows.
local function shut_queue_gate()
    if not is_configured then return UNCONFIGURED end
    local rooms = {}
    for _, gate in ipairs(GATES) do
        if not gate.of_lane then
            rooms[gate.name] = gate.room()
            if holds_queue(gate, rooms[gate.name]) then return gate end
        end
    end
    return nil, rooms
end

-- Whether a gate of the organization holds its lanes.
local function is_held(organization)
    for _, gate in ipairs(GATES) do
        if gate.of_lane and gate.room(organization) <= 0 then return true end
    end
    return false
end

local function opens_in(gate) return gate.opens and gate.opens() or 0 end
