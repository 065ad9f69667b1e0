--[[
audit: which structures hold each task; changes nothing.

ARGV[4]  and on          ids, some dozens at most

Returns  for each, in a row: the structures that hold it (sum of the numbers below), its lane by idx
         ("" = none, or damaged), fence of its owner ("0" = none), ms left of its lease (0 = none,
         may be negative), due time of its delay in ms since 1970 ("0" = none).

Of a lane longer than 2 * NEAR only both ends are searched; an id between them counts as found.
]]
--@include _queue.lua
local NEAR = 200
local IDX, WAIT, LANE, SERVED = 1, 2, 4, 8
local OWN, DELAYED, INBOX, JOB, SNAPSHOT = 16, 32, 64, 128, 256

local function is_in_lane(lane, id)
    if ask_lane(nil, "LPOS", lane, id, "MAXLEN", NEAR) then return true end
    if ask_lane(nil, "LPOS", lane, id, "RANK", -1, "MAXLEN", NEAR) then return true end
    return ask_lane(0, "LLEN", lane) > 2 * NEAR
end

local function is_served(lane)
    return (redis.call("ZSCORE", ring_key, lane) or redis.call("ZSCORE", parked_key, lane)) ~= false
end

local function line_of(id)
    local entry = redis.call("HGET", idx_key, id)
    if not entry then return 0, "" end
    local index, lane = place_in(entry)
    if not index then return IDX, "" end
    local sum = IDX
    if redis.call("LINDEX", wait_key, index) == id then sum = sum + WAIT end
    if is_in_lane(lane, id) then sum = sum + LANE end
    if is_served(lane) then sum = sum + SERVED end
    return sum, lane
end

local function owner_of(id)
    local fence = string.match(redis.call("HGET", own_key, id) or "", "^(%d+)|")
    if not fence then return 0, "0", 0 end
    local lease_end = redis.call("ZSCORE", lease_key, id)
    return OWN, fence, lease_end and tonumber(lease_end) - now or 0
end

local function delay_of(id)
    local due = redis.call("ZSCORE", delayed_key, id)
    if not due then return 0, "0" end
    return DELAYED, whole(tonumber(due) * 1000)
end

local function records_of(id)
    local sum = 0
    if redis.call("LPOS", inbox_key, id, "MAXLEN", NEAR) then sum = sum + INBOX end
    if redis.call("HEXISTS", job_key(id), "psq_org") == 1 then sum = sum + JOB end
    if redis.call("EXISTS", task_key(id)) == 1 then sum = sum + SNAPSHOT end
    return sum
end

local answers = {}
for i = 4, #ARGV do
    local id = ARGV[i]
    local line, lane = line_of(id)
    local own, fence, left = owner_of(id)
    local delayed, due = delay_of(id)
    for _, value in ipairs({line + own + delayed + records_of(id), lane, fence, left, due}) do
        answers[#answers + 1] = value
    end
end
return answers
