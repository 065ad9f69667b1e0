-- Running attempts: their owners, their leases, and their records in RQ's form.

-- Fence, lane, worker and execution of a running task; nil when the entry is damaged.
local function read_owner(id, entry)
    local fence, lane, worker, execution = string.match(
        entry or "", "^(%d+)|(%d:[^|]+)|(.*)|([^|]*)$"
    )
    if not fence then return nil end
    return {id = id, fence = fence, lane = lane, worker = worker, execution = execution}
end

local function owner_of(id) return read_owner(id, redis.call("HGET", own_key, id)) end

-- The owners of many ids: id to owner.
local function owners_of(ids)
    local owners = {}
    for id, entry in pairs(read_many(own_key, ids)) do owners[id] = read_owner(id, entry) end
    return owners
end

local function member_of(owner) return owner.id .. ":" .. owner.execution end

-- Start time in us, from the execution's name. Older names contain only the fence, which is nearly
-- the start time as well.
local function started_us(owner)
    local us = tonumber(string.sub(owner.execution, 1, 16), 16) or 0
    if us == 0 then us = tonumber(string.sub(owner.execution, 17), 16) end
    return us or 0
end

-- The start time in RQ's format.
local function started_of(owner) return string.format("%.6f", started_us(owner) / 1000000) end

local last_seen = {}

-- Whether RQ's records of it may exist: its worker has sent a tick since it started.
local function has_records(owner)
    local worker = owner.worker
    if not last_seen[worker] then
        -- A key of another type tells of no tick: its next heartbeat puts that right.
        local score = redis.pcall("ZSCORE", workers_key, worker)
        last_seen[worker] = type(score) == "string" and tonumber(score) or math.huge
    end
    return math.floor(started_us(owner) / 1000) <= last_seen[worker]
end

local function renew_all(owners, lease_ms)
    local leases, members, worker = {}, {}, nil
    for _, owner in ipairs(owners) do
        local record, registry = execution_key(owner.id, owner.execution), executions_key(owner.id)
        worker = owner.worker
        members[#members + 1] = member_of(owner)
        leases[#leases + 1] = whole(now + lease_ms)
        leases[#leases + 1] = owner.id
        note_job(owner.id, "last_heartbeat", utc_now())
        write_anyway(
            "HSET", record, "id", owner.execution, "job_id", owner.id,
            "created_at", started_of(owner), "last_heartbeat", now_s, "worker_name", owner.worker
        )
        redis.call("EXPIRE", record, RECORD_TTL)
        write_anyway("ZADD", registry, now_s + RECORD_TTL + 60, owner.execution)
        redis.call("EXPIRE", registry, RECORD_TTL + 60)
    end
    call_many("ZADD", lease_key, leases)
    -- RQ's pages take out of it whatever has no record yet.
    if worker then write_many_anyway("SADD", worker_key(worker), members) end
end

-- Few ids are removed by one search each; for many the list is rewritten without them.
local function leave_active(ids)
    if #ids < 4 or redis.call("LLEN", active_key) > 8 * #ids then
        for _, id in ipairs(ids) do redis.call("LREM", active_key, 1, id) end
        return
    end
    local is_gone, left = {}, {}
    for _, id in ipairs(ids) do is_gone[id] = true end
    for _, id in ipairs(redis.call("LRANGE", active_key, 0, -1)) do
        if not is_gone[id] then left[#left + 1] = id end
    end
    redis.call("DEL", active_key)
    call_many("RPUSH", active_key, left)
end

-- Removes all traces of ended attempts, and unparks their organizations' lanes.
local function close_all(owners)
    local ids, records, members, members_of = {}, {}, {}, {}
    for i, owner in ipairs(owners) do
        local member = member_of(owner)
        ids[i], members[i] = owner.id, member
        if has_records(owner) then
            records[#records + 1] = execution_key(owner.id, owner.execution)
            records[#records + 1] = executions_key(owner.id)
        end
        members_of[owner.worker] = members_of[owner.worker] or {}
        table.insert(members_of[owner.worker], member)
        count_running(organization_of(owner.lane), -1)
    end
    leave_active(ids)
    call_many("HDEL", own_key, ids)
    call_many("ZREM", lease_key, ids)
    call_many("ZREM", wip_key, members)
    in_chunks(records, function(keys) redis.call("DEL", unpack(keys)) end)
    for worker, its in pairs(members_of) do write_many_anyway("SREM", worker_key(worker), its) end
    keep_running()
    for _, owner in ipairs(owners) do unpark_organization(organization_of(owner.lane)) end
end

-- Returns a task to the front of its lane: the attempt does not count, or is retried at once. Its
-- lane differs from the owner's when its priority was changed meanwhile.
local function put_back(id, owner)
    note_job(id, "status", "queued", "enqueued_at", utc_now())
    put(id, lane_of_job(id) or owner.lane, true)
    mark()
end

-- Wakes a worker after a slot became free, if the queue's limit may have held tasks back.
local function mark_if_held()
    if concurrency > 0 and redis.call("EXISTS", ring_key) == 1 then mark() end
end
