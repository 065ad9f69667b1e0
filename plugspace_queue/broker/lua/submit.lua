--[[
submit: adds tasks to their lanes or to the delayed set, each once.

ARGV[4]  perform         dotted path that RQ's pages show
ARGV[5]  result ttl      seconds
ARGV[6]  newest tasks    kept per organization
ARGV[7]  budget          bytes of values an organization may write, 0 = no limit
ARGV[8]  window          ms over which they are counted
ARGV[9]  and on, 12 for each task: id, band, organization, snapshot, its members and the lean
         ones ("" = none), due (ms, 0 = now), front (1), timeout (s), created (RQ's text),
         created (ms), description

Returns  how many were added; a task that waits, runs or is delayed already is not, but its
         snapshot is rewritten while it does not run.
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
--@include _payloads.lua
local perform = ARGV[4]
local result_ttl = ARGV[5]
local newest = tonumber(ARGV[6])
local FIRST, FIELDS = 9, 12

limit_payloads(ARGV[7], ARGV[8])
local entries = {}
for i = FIRST, #ARGV, FIELDS do
    local entry = {
        id = ARGV[i], band = ARGV[i + 1], organization = ARGV[i + 2], snapshot = ARGV[i + 3],
        all = ARGV[i + 4], lean = ARGV[i + 5], due = tonumber(ARGV[i + 6]),
        front = ARGV[i + 7] == "1", timeout = ARGV[i + 8], created = ARGV[i + 9],
        created_ms = ARGV[i + 10], description = ARGV[i + 11]
    }
    local valid = string.match(entry.band, "^[0-3]$") and entry.due and entry.description
        and tonumber(entry.created_ms) and string.match(entry.id, "^[%w_-]+$")
        and string.match(entry.organization, "^[%w_-]+$")
    if not valid then return redis.error_reply("ERR submit: entry " .. #entries .. " is not valid") end
    entries[#entries + 1] = entry
end

local function keys_of(key, some)
    local found = {}
    for i, entry in ipairs(some) do found[i] = key(entry.id) end
    return found
end

local function ids_of(some)
    return keys_of(function(id) return id end, some)
end

local function snapshot_of(entry)
    return with(entry.snapshot, values_of(entry.id, entry.organization, entry.all, entry.lean))
end

-- The new tasks, each once. Snapshots of tasks that do not run are written, new or not.
local function sift()
    local ids = ids_of(entries)
    local owned = redis.call("HMGET", own_key, unpack(ids))
    local waiting = redis.call("HMGET", idx_key, unpack(ids))
    local delayed = redis.call("ZMSCORE", delayed_key, unpack(ids))
    local new, seen, snapshots = {}, {}, {}
    for i, entry in ipairs(entries) do
        if not owned[i] then
            snapshots[#snapshots + 1] = task_key(entry.id)
            snapshots[#snapshots + 1] = snapshot_of(entry)
            if not (waiting[i] or delayed[i] or seen[entry.id]) then new[#new + 1] = entry end
            seen[entry.id] = true
        end
    end
    if #snapshots > 0 then redis.call("MSET", unpack(snapshots)) end
    return new
end

-- Removes the remains of an earlier end: a job with a time to live, and entries in RQ's registries.
local function clear(new)
    if redis.call("DEL", unpack(keys_of(job_key, new))) == 0 then return end
    local ids = ids_of(new)
    for _, key in ipairs({finished_key, failed_key, canceled_key}) do
        redis.call("ZREM", key, unpack(ids))
    end
end

local function write_job(entry)
    redis.call(
        "HSET", job_key(entry.id), "data", '["' .. perform .. '", null, ["' .. entry.id .. '"], {}]',
        "origin", queue, "status", entry.due > now and "scheduled" or "queued",
        "description", entry.description, "created_at", entry.created, "enqueued_at", utc_now(),
        "timeout", entry.timeout, "result_ttl", result_ttl,
        "psq_org", entry.organization, "psq_prio", entry.band
    )
    if entry.front then redis.call("HSET", job_key(entry.id), "psq_front", "1") end
end

local function remember(new)
    local newest_of = {}
    for _, entry in ipairs(new) do
        local ids = newest_of[entry.organization] or {}
        newest_of[entry.organization] = ids
        ids[#ids + 1] = entry.created_ms
        ids[#ids + 1] = entry.id
    end
    for organization, ids in pairs(newest_of) do
        local key = ours .. ":org:" .. organization .. ":tasks"
        write_anyway("ZADD", key, unpack(ids))
        redis.call("ZREMRANGEBYRANK", key, 0, -newest - 1)
    end
end

local new = sift()
keep_accounts()
if #new == 0 then return 0 end
clear(new)
remember(new)
local due = {}
for _, entry in ipairs(new) do
    write_job(entry)
    if entry.due > now then delay(entry.id, entry.due) else due[#due + 1] = entry end
end
put_all(due)
if #due > 0 and redis.call("EXISTS", ring_key) == 1 then mark() end
return #new
