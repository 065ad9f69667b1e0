#!lua flags=allow-oom
--[[
mend_running: make active, leases, RQ's records and counts what `own` says, in one step.

ARGV[4]  lease           ms that an owner without a lease gets; a dead one is reaped after it

Returns  how much was put right
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _running.lua
local lease_ms = tonumber(ARGV[4])

local wrong = {}
local owned = compare_running(function(word, key) wrong[#wrong + 1] = {word, key} end)

local function count_of(organization)
    local count = 0
    for _, owner in pairs(owned) do
        if organization_of(owner.lane) == organization then count = count + 1 end
    end
    return count
end

local mend = {
    active = function(id)
        redis.call("LREM", active_key, 0, id)
        if owned[id] then redis.call("RPUSH", active_key, id) end
    end,
    lease = function(id)
        redis.call("ZREM", lease_key, id)
        if owned[id] then redis.call("ZADD", lease_key, whole(now + lease_ms), id) end
    end,
    record = function(member)
        local id = string.match(member, "^[^:]+")
        local owner = owned[id]
        redis.call("ZREM", wip_key, member)
        if owner and owner.member == member then redis.call("ZADD", wip_key, "+inf", member) end
    end,
    -- What runs does not wait: its attempt decides whether it will again.
    line = function(id)
        redis.call("ZREM", delayed_key, id)
        withdraw_waiting(id)
    end,
    count = function(organization)
        local count = count_of(organization)
        if count > 0 then
            redis.call("HSET", running_key, organization, count)
        else
            redis.call("HDEL", running_key, organization)
        end
        unpark_organization(organization)
    end
}

for _, one in ipairs(wrong) do mend[one[1]](one[2]) end
return #wrong
