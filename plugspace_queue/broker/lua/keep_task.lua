--[[
keep_task: stores the JSON of a task that does not run and whose values count in the budget.

ARGV[4]  budget          bytes of values an organization may write, 0 = no limit
ARGV[5]  window          ms over which they are counted
ARGV[6]  task
ARGV[7]  organization
ARGV[8]  snapshot        JSON
ARGV[9]  its members, and the lean ones (ARGV[10])
ARGV[11] time to live    s; 0 = none

Returns  0, as nothing is added to the queue
]]
--@include _queue.lua
--@include _payloads.lua
limit_payloads(ARGV[4], ARGV[5])

local id = ARGV[6]
local text = with(ARGV[8], values_of(id, ARGV[7], ARGV[9], ARGV[10]))
if ARGV[11] == "0" then
    redis.call("SET", task_key(id), text)
else
    redis.call("SET", task_key(id), text, "EX", ARGV[11])
end
keep_accounts()
return 0
