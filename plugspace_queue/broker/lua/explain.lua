#!lua flags=no-writes
--[[
explain: where a task is, and the state of each gate for it; changes nothing.

ARGV[4]  id
ARGV[5]  organization
ARGV[6]  band            0 to 3; both are used for a task that is in no lane
ARGV[7]  alive           ms since its last heartbeat for which a worker counts as alive

Costs at most LPOS over MOST_IN_LANE ids, MOST_RUNNING running tasks and MOST_WORKERS workers;
everything else is O(log n) in the number of waiting tasks.

Returns  JSON: now, place, due, answer (acquire's status of the queue), opens_in (ms), gates in
         order, overridden (as configure got it), running, concurrency, lease (of the task itself), holders, position (nil unless it
         is in a lane), workers.
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _places.lua
reads_only = true
local id = ARGV[4]
local organization = ARGV[5]
local band = ARGV[6]
local alive_ms = tonumber(ARGV[7])
local MOST_IN_LANE = 10000
local MOST_RUNNING = 60
local MOST_HOLDERS = 20
local MOST_WORKERS = 500

local function verdict(gate)
    local room, current, limit = gate.room(organization)
    local is_open = room > 0
    return {
        name = gate.name, is_open = is_open, current = current, limit = limit,
        opens_in = not is_open and opens_in(gate) or 0
    }
end

local function verdicts()
    local told = {}
    for i, gate in ipairs(GATES) do told[i] = verdict(gate) end
    return told
end

local function holder(running_id, entry, lease_end)
    local lane, worker = string.match(entry, "^%d+|([^|]*)|(.*)|[^|]*$")
    return {
        id = running_id, organization = organization_of(lane), worker = worker,
        lease_end = tonumber(lease_end or "0"),
        started = redis.call("HGET", job_key(running_id), "started_at") or nil
    }
end

-- Indexes in `entries` of the organization's own tasks, then of the others.
local function own_first(entries)
    local own, others = {}, {}
    for i, entry in ipairs(entries) do
        local is_own = entry and string.match(entry, "^%d+|%d:([^|]*)|") == organization
        if entry then table.insert(is_own and own or others, i) end
    end
    for _, i in ipairs(others) do own[#own + 1] = i end
    return own
end

-- The longest running tasks, those of the organization first.
local function holders()
    local ids = redis.call("LRANGE", active_key, 0, MOST_RUNNING - 1)
    if #ids == 0 then return {} end
    local entries = redis.call("HMGET", own_key, unpack(ids))
    local ends = redis.call("ZMSCORE", lease_key, unpack(ids))
    local told = {}
    for _, i in ipairs(own_first(entries)) do
        if #told < MOST_HOLDERS then told[#told + 1] = holder(ids[i], entries[i], ends[i]) end
    end
    return told
end

-- Lanes served before this one: those with a lower score; a parked lane as if it returned now.
local function lanes_ahead(lane)
    local rank = redis.call("ZRANK", ring_key, lane)
    if rank then return rank end
    local score = redis.call("ZSCORE", parked_key, lane)
    if not score then return nil end
    local base = base_of(band_of(lane))
    local tag = math.max(tonumber(score) - base, virtual_time(band_of(lane)))
    return redis.call("ZCOUNT", ring_key, "-inf", whole(base + tag))
end

local function position(lane)
    local ahead = lanes_ahead(lane)
    if not ahead then return nil end
    local stricter = redis.call("ZCOUNT", ring_key, "-inf", "(" .. whole(base_of(band_of(lane))))
    local tasks = ask_lane(nil, "LPOS", lane, id, "MAXLEN", MOST_IN_LANE)
    return {
        band = band_of(lane), lanes = ahead - stricter, stricter_lanes = stricter,
        tasks = tasks or math.min(ask_lane(0, "LLEN", lane), MOST_IN_LANE),
        at_least = not tasks
    }
end

-- Live workers and their slots for this queue; those without a processor have none.
local function workers()
    local names = redis.call(
        "ZRANGEBYSCORE", workers_key, whole(now - alive_ms), "+inf", "LIMIT", 0, MOST_WORKERS
    )
    local told = {serving = 0, slots = 0, idle = 0}
    if #names > 0 then
        for _, slots in ipairs(redis.call("HMGET", slots_key, unpack(names))) do
            local count = tonumber(slots or "0")
            told[count > 0 and "serving" or "idle"] = told[count > 0 and "serving" or "idle"] + 1
            told.slots = told.slots + count
        end
    end
    told.suspended = redis.call("EXISTS", rq .. ":suspended") == 1
    return told
end

local owner = redis.call("HGET", own_key, id)
local place = place_of(id)
local index = redis.call("HGET", idx_key, id)
local _, indexed = place_in(index)
local lane = indexed or band .. ":" .. organization
organization = organization_of(lane)
local shut = shut_queue_gate()
local due = redis.call("ZSCORE", delayed_key, id)
return cjson.encode({
    now = now, place = place, due = due and math.floor(tonumber(due) * 1000 + 0.5),
    answer = shut and shut.answer or "ok", opens_in = shut and opens_in(shut) or 0,
    gates = verdicts(), overridden = redis.call("HGET", meta_key, "overridden") or "",
    running = redis.call("LLEN", active_key), concurrency = concurrency,
    lease = owner and holder(id, owner, redis.call("ZSCORE", lease_key, id)) or nil,
    holders = holders(), position = indexed and position(lane) or nil, workers = workers()
})
