-- Adds tasks to their lanes that do not come by submit: due delayed tasks, ids pushed by RQ's code.
local ARRIVALS = 100

local foreign = {}

-- Writes RQ's own failure record; `refusal` is the message in RQ's encoding.
local function refuse(id, refusal)
    foreign[#foreign + 1] = id
    if not has_job(id) then return end
    redis.call("HSET", job_key(id), "status", "failed", "ended_at", utc_now())
    redis.call("ZADD", failed_key, tonumber(now_s) + 31536000, id)
    write_anyway(
        "XADD", results_key(id), "MAXLEN", "10", "*",
        "type", "2", "worker_name", "", "exc_string", refusal
    )
    redis.call("EXPIRE", job_key(id), 31536000)
    redis.call("EXPIRE", results_key(id), 31536000)
end

local function arrive(id, refusal)
    if is_waiting(id) or redis.call("HEXISTS", own_key, id) == 1 then return end
    local lane = lane_of_job(id)
    if not lane then return refuse(id, refusal) end
    local front = redis.call("HGET", job_key(id), "psq_front") == "1"
    redis.call("PERSIST", job_key(id))
    note_job(id, "status", "queued", "enqueued_at", utc_now())
    put(id, lane, front)
end

local function promote(refusal)
    local due = redis.call("ZRANGEBYSCORE", delayed_key, "-inf", now_s, "LIMIT", 0, ARRIVALS)
    if #due == 0 then return end
    redis.call("ZREM", delayed_key, unpack(due))
    for _, id in ipairs(due) do
        if has_job(id) then arrive(id, refusal) end
    end
    mark()
end

local function adopt(refusal)
    local pushed = redis.call("LPOP", inbox_key, ARRIVALS)
    if not pushed then return end
    for _, id in ipairs(pushed) do
        redis.call("ZREM", delayed_key, id)
        redis.call("ZREM", failed_key, id)
        redis.call("ZREM", finished_key, id)
        redis.call("ZREM", canceled_key, id)
        arrive(id, refusal)
    end
    mark()
end

-- Ms until the next delayed task is due; 0 when there is none.
local function next_due()
    local first = redis.call("ZRANGE", delayed_key, 0, 0, "WITHSCORES")
    if not first[2] then return 0 end
    return math.max(math.ceil(tonumber(first[2]) * 1000 - now_us / 1000), 1)
end

-- Workers block until the due time they know, so an earlier one has to wake one of them.
local function delay(id, due_ms)
    local first = redis.call("ZRANGE", delayed_key, 0, 0, "WITHSCORES")
    redis.call("ZADD", delayed_key, in_seconds(due_ms), id)
    if not first[2] or due_ms < tonumber(first[2]) * 1000 then mark() end
end
