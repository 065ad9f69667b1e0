-- Running attempts: who owns them, their leases, and their records in RQ's form.

-- Fence, lane, worker and execution of a running task, or nil.
local function owner_of(id)
    local entry = redis.call("HGET", own_key, id)
    if not entry then return nil end
    local fence, lane, worker, execution = string.match(entry, "^(%d+)|(%d:[^|]+)|(.*)|([^|]*)$")
    -- What somebody else has written there is no attempt.
    if not fence then return nil end
    return {fence = fence, lane = lane, worker = worker, execution = execution}
end

local function renew(id, owner, lease_ms)
    local record = execution_key(id, owner.execution)
    redis.call("ZADD", lease_key, whole(now + lease_ms), id)
    note_job(id, "last_heartbeat", utc_now())
    redis.call("HSET", record, "last_heartbeat", now_s)
    redis.call("EXPIRE", record, RECORD_TTL)
    redis.call("ZADD", executions_key(id), "XX", now_s + RECORD_TTL + 60, owner.execution)
    redis.call("EXPIRE", executions_key(id), RECORD_TTL + 60)
end

-- The attempt is over: nothing of it is left. Returns when it started, as RQ writes it.
local function close(id, owner)
    local record = execution_key(id, owner.execution)
    local member = id .. ":" .. owner.execution
    local organization = organization_of(owner.lane)
    local started = redis.call("HGET", record, "created_at")
    redis.call("LREM", active_key, 1, id)
    redis.call("HDEL", own_key, id)
    redis.call("ZREM", lease_key, id)
    if count_running(organization, -1) <= 0 then
        redis.call("HDEL", running_key, organization)
    end
    redis.call("ZREM", wip_key, member)
    redis.call("DEL", record)
    redis.call("ZREM", executions_key(id), owner.execution)
    redis.call("SREM", worker_key(owner.worker), member)
    unpark_organization(organization)
    return started or now_s
end

-- To the front of its lane: the attempt never counted, or is to be tried again at once. Another
-- lane than it came from when its priority was changed meanwhile.
local function put_back(id, owner)
    note_job(id, "status", "queued", "enqueued_at", utc_now())
    put(id, lane_of_job(id) or owner.lane, true)
    mark()
end

-- A slot became free; when the queue's own limit may have held others back, wake one.
local function mark_if_held()
    if concurrency > 0 and redis.call("EXISTS", ring_key) == 1 then mark() end
end
