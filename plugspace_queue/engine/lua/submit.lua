--[[
submit: put tasks into their lines, or into the delayed set; once each.

ARGV[4]  perform         dotted path that RQ's pages show
ARGV[5]  result ttl      seconds
ARGV[6]  newest tasks    kept per organization
ARGV[7]  and on, 10 for each task: id, band, organization, snapshot, due (ms, 0 = now), front (1),
         timeout (s), created (RQ's text), created (ms), description

Returns  how many were accepted; one that waits, runs or is delayed already is not, but its
         snapshot is renewed while it does not run.
]]
--@include _queue.lua
--@include _lanes.lua
--@include _arrivals.lua
local perform = ARGV[4]
local result_ttl = ARGV[5]
local newest = tonumber(ARGV[6])
local FIELDS = 10

local entries = {}
for i = 7, #ARGV, FIELDS do
    local entry = {
        id = ARGV[i], band = ARGV[i + 1], organization = ARGV[i + 2], snapshot = ARGV[i + 3],
        due = tonumber(ARGV[i + 4]), front = ARGV[i + 5] == "1", timeout = ARGV[i + 6],
        created = ARGV[i + 7], created_ms = ARGV[i + 8], description = ARGV[i + 9]
    }
    local valid = string.match(entry.band, "^[0-3]$") and entry.due and entry.description
        and tonumber(entry.created_ms) and string.match(entry.id, "^[%w_-]+$")
        and string.match(entry.organization, "^[%w_-]+$")
    if not valid then return redis.error_reply("ERR submit: entry " .. #entries .. " is not valid") end
    entries[#entries + 1] = entry
end

local function write_job(entry, status)
    local key = job_key(entry.id)
    -- Left over from an earlier end: it has a time to live, and RQ's registries still list it.
    if redis.call("DEL", key) == 1 then
        redis.call("ZREM", finished_key, entry.id)
        redis.call("ZREM", failed_key, entry.id)
        redis.call("ZREM", canceled_key, entry.id)
    end
    redis.call(
        "HSET", key, "data", '["' .. perform .. '", null, ["' .. entry.id .. '"], {}]',
        "origin", queue, "status", status, "description", entry.description,
        "created_at", entry.created, "enqueued_at", utc_text(now_us), "timeout", entry.timeout,
        "result_ttl", result_ttl, "psq_org", entry.organization, "psq_prio", entry.band
    )
end

local newest_of = {}
local function remember(entry)
    local ids = newest_of[entry.organization] or {}
    newest_of[entry.organization] = ids
    ids[#ids + 1] = entry.created_ms
    ids[#ids + 1] = entry.id
end

local function accept(entry)
    if redis.call("HEXISTS", own_key, entry.id) == 1 then return 0 end
    redis.call("SET", task_key(entry.id), entry.snapshot)
    if is_waiting(entry.id) or redis.call("ZSCORE", delayed_key, entry.id) then return 0 end
    remember(entry)
    if entry.due > now then
        write_job(entry, "scheduled")
        delay(entry.id, entry.due)
    else
        write_job(entry, "queued")
        put(entry.id, entry.band .. ":" .. entry.organization, entry.front)
    end
    return 1
end

local accepted = 0
for _, entry in ipairs(entries) do accepted = accepted + accept(entry) end
for organization, ids in pairs(newest_of) do
    local key = ours .. ":org:" .. organization .. ":tasks"
    redis.call("ZADD", key, unpack(ids))
    redis.call("ZREMRANGEBYRANK", key, 0, -newest - 1)
end
if accepted > 0 and redis.call("EXISTS", ring_key) == 1 then mark() end
return accepted
