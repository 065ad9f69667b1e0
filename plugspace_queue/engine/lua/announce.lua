#!lua flags=allow-oom
--[[
announce: write the snapshots and events of running attempts.

ARGV[4]  events kept     about
ARGV[5]  and on, 3 for each note: id, snapshot ("" = leave it), event ("" = none)

Returns  1; a snapshot is written only while its task runs, so that a late note undoes no end.
]]
--@include _queue.lua
local events_kept = ARGV[4]

for i = 5, #ARGV, 3 do
    local id, snapshot, event = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if snapshot ~= "" and redis.call("HEXISTS", own_key, id) == 1 then
        redis.call("SET", task_key(id), snapshot)
    end
    if event ~= "" then
        redis.call("XADD", events_key, "MAXLEN", "~", events_kept, "*", "event", event)
    end
end
return 1
