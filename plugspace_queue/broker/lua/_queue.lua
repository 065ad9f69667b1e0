-- Keys, clock and settings of one queue; every script on a queue includes this first.
--
-- KEYS[1]  the queue       sorted set, ring of lanes
-- ARGV[1]  queue           its name, e.g. code
-- ARGV[2]  our prefix      e.g. plugspace
-- ARGV[3]  RQ's prefix     e.g. rq
-- ARGV[4]  and on: the script's own arguments
--
-- All other keys are built here only (no Redis Cluster); names as in keys.py and in RQ.
local ring_key = KEYS[1]
local queue = ARGV[1]
local ours = ARGV[2]
local rq = ARGV[3]

local wait_key = ring_key .. ":wait"
local active_key = ring_key .. ":active"
local idx_key = ring_key .. ":idx"
local own_key = ring_key .. ":own"
local lease_key = ring_key .. ":lease"
local meta_key = ring_key .. ":meta"
local marker_key = ring_key .. ":marker"
local limiter_key = ring_key .. ":limiter"
local running_key = ring_key .. ":running"
local parked_key = ring_key .. ":parked"
local clocks_key = ring_key .. ":vt"
local workers_key = ring_key .. ":workers"
local slots_key = ring_key .. ":slots"
local paused_key = ours .. ":paused"
local events_key = ours .. ":events"
local inbox_key = rq .. ":queue:" .. queue
local delayed_key = rq .. ":scheduled:" .. queue
local wip_key = rq .. ":wip:" .. queue
local finished_key = rq .. ":finished:" .. queue
local failed_key = rq .. ":failed:" .. queue
local canceled_key = rq .. ":canceled:" .. queue

local function lane_key(lane) return ring_key .. ":lane:" .. lane end
local function fin_key(band) return ring_key .. ":fin:" .. band end
local function task_key(id) return ours .. ":task:" .. id end
local function job_key(id) return rq .. ":job:" .. id end
local function results_key(id) return rq .. ":results:" .. id end
local function executions_key(id) return rq .. ":executions:" .. id end
local function execution_key(id, execution) return rq .. ":execution:" .. id .. ":" .. execution end
local function worker_key(worker) return rq .. ":worker:" .. worker .. ":executions" end

-- A job's key of another type counts as no job.
local function has_job(id) return redis.call("TYPE", job_key(id)).ok == "hash" end

-- Writes to a key whose loss harms one task or worker at most: a value of another type is deleted
-- first. If the script failed because of it, no other task of the call would go on.
local function write_anyway(command, key, ...)
    local answer = redis.pcall(command, key, ...)
    if type(answer) ~= "table" or not answer.err then return answer end
    redis.call("DEL", key)
    return redis.call(command, key, ...)
end

-- What a lane's list answers; `none` where the key has a value of another type, which is replaced
-- when a task enters the lane. One organization's lane must not stop the queue of all.
local function ask_lane(none, command, lane, ...)
    local answer = redis.pcall(command, lane_key(lane), ...)
    if type(answer) == "table" and answer.err then return none end
    return answer
end

local function note_job(id, ...) write_anyway("HSET", job_key(id), ...) end

-- Lists of any length, in parts that fit on Lua's stack; pairs of values stay together.
local CHUNK = 1000

local function in_chunks(list, use)
    if #list <= CHUNK then return #list > 0 and use(list) end
    for start = 1, #list, CHUNK do
        use({unpack(list, start, math.min(start + CHUNK - 1, #list))})
    end
end

-- Calls one command with many values.
local function call_many(command, key, values)
    in_chunks(values, function(part) redis.call(command, key, unpack(part)) end)
end

local function write_many_anyway(command, key, values)
    in_chunks(values, function(part) write_anyway(command, key, unpack(part)) end)
end

-- What a hash holds of many fields: field to value, false where there is none.
local function read_many(key, fields)
    local found = {}
    in_chunks(fields, function(part)
        for i, value in ipairs(redis.call("HMGET", key, unpack(part))) do found[part[i]] = value end
    end)
    return found
end

-- Seconds until RQ's record of an execution expires without a tick of its worker.
local RECORD_TTL = 300

-- Scripts use only the server's clock.
local time = redis.call("TIME")
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local now_s = string.format("%.6f", now_us / 1000000)

local settings = redis.call(
    "HMGET", meta_key, "paused", "concurrency", "limiter", "limiter_ms", "org_cap", "weighted"
)
local is_configured = settings[3] ~= false
local paused = settings[1] == "1"
local concurrency = tonumber(settings[2]) or 0
local limiter = tonumber(settings[3]) or 0
local limiter_ms = tonumber(settings[4]) or 0
local org_cap = tonumber(settings[5]) or 0
local weighted = settings[6] == "1"

-- Lua's own conversion to text keeps only 14 digits.
local function whole(number) return string.format("%.0f", number) end

-- As task_store.MOST_FENCE: Lua cannot tell numbers above 2^53 apart.
local MOST_FENCE = 9007199254740992 - 1099511627776

-- The last granted fence; 0 when the field is damaged.
local function last_fence()
    local text = redis.call("HGET", meta_key, "fence") or "0"
    local fence = string.match(text, "^%d+$") and tonumber(text)
    return fence and fence <= MOST_FENCE and fence or 0
end

-- Whether a member of the ring or of the parked lanes has the form band:organization.
local function is_lane(text) return string.match(text, "^[0-3]:[%w_-]+$") ~= nil end

-- The index in `wait` and the lane from an entry of idx; nil when the entry is damaged.
local function place_in(entry)
    local index, lane = string.match(entry or "", "^(%d+)|(.+)$")
    if not index or #index > 15 or not is_lane(lane) then return nil end
    return index, lane
end

local function in_seconds(ms) return string.format("%.3f", ms / 1000) end

-- The marker holds no data, so it may be overwritten.
local function mark()
    if not paused then write_anyway("ZADD", marker_key, 0, "work") end
end

-- Appends an event. A key of a wrong type is deleted first, so that no settle fails because of it.
local function tell(event, kept)
    write_anyway("XADD", events_key, "MAXLEN", "~", kept, "*", "event", event)
end

local now_text

-- The time of this call in RQ's text form, in UTC (days-to-date algorithm by Howard Hinnant).
local function utc_now()
    if now_text then return now_text end
    local seconds = tonumber(time[1])
    local days = math.floor(seconds / 86400)
    local z = days + 719468
    local era = math.floor(z / 146097)
    local doe = z - era * 146097
    local yoe = math.floor(
        (doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365
    )
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local month = mp < 10 and mp + 3 or mp - 9
    local rest = seconds - days * 86400
    now_text = string.format(
        "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
        yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - math.floor((153 * mp + 2) / 5) + 1,
        math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60, tonumber(time[2])
    )
    return now_text
end
