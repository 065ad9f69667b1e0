-- Compares the structures of running attempts with `own`, which is authoritative. One pass over
-- structures whose lengths are bounded by the number of slots of all workers.

local function set_of(list)
    local set = {}
    for _, value in ipairs(list) do set[value] = (set[value] or 0) + 1 end
    return set
end

local function owners()
    local flat, found = redis.call("HGETALL", own_key), {}
    for i = 1, #flat, 2 do
        local lane, execution = string.match(flat[i + 1], "^%d+|([^|]*)|.*|([^|]*)$")
        if lane then
            local member = flat[i] .. ":" .. execution
            found[flat[i]] = {lane = lane, member = member}
        end
    end
    return found
end

-- Calls `found(code, key)` for each difference; the key is an id, a member or an organization.
local function compare_running(found)
    local owned = owners()
    local active = set_of(redis.call("LRANGE", active_key, 0, -1))
    local leased = set_of(redis.call("ZRANGE", lease_key, 0, -1))
    local records = set_of(redis.call("ZRANGE", wip_key, 0, -1))
    local counted, members = {}, {}
    for id, owner in pairs(owned) do
        local organization = string.sub(owner.lane, 3)
        counted[organization] = (counted[organization] or 0) + 1
        members[owner.member] = true
        if active[id] ~= 1 then found("active_differs", id) end
        if not leased[id] then found("lease_differs", id) end
        if not records[owner.member] then found("record_differs", owner.member) end
        if redis.call("HEXISTS", idx_key, id) == 1 or redis.call("ZSCORE", delayed_key, id) then
            found("runs_and_waits", id)
        end
    end
    for id in pairs(active) do if not owned[id] then found("active_differs", id) end end
    for id in pairs(leased) do if not owned[id] then found("lease_differs", id) end end
    for member in pairs(records) do if not members[member] then found("record_differs", member) end end
    local noted = redis.call("HGETALL", running_key)
    for i = 1, #noted, 2 do
        if noted[i + 1] ~= tostring(counted[noted[i]]) then found("running_count", noted[i]) end
        counted[noted[i]] = nil
    end
    for organization in pairs(counted) do found("running_count", organization) end
    return owned
end
