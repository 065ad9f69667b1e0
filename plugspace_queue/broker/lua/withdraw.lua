#!lua flags=allow-oom
--[[
withdraw: removes waiting and delayed tasks from the queue.

ARGV[4]  and on          ids

Returns  for each: place (removed, running or absent), worker ("" unless running), in a row
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _attempts.lua

local function take_out(id)
    local pushed = redis.call("LREM", inbox_key, 0, id)
    local delayed = redis.call("ZREM", delayed_key, id)
    return withdraw_waiting(id) or pushed + delayed > 0
end

local places = {}
for i = 4, #ARGV do
    local id = ARGV[i]
    local owner = owner_of(id)
    local removed = not owner and take_out(id)
    if removed then redis.call("DEL", job_key(id)) end
    places[#places + 1] = removed and "removed" or owner and "running" or "absent"
    places[#places + 1] = owner and owner.worker or ""
end
return places
