--[[
audit_queue: compares the structures of a queue with each other; changes nothing.

Returns  findings (code, key in a row): active_differs, lease_differs, record_differs (RQ's),
         runs_and_waits, running_count (of an organization); wait_differs and fence_strange have a
         description in place of the key
]]
--@include _queue.lua
--@include _running.lua
local findings = {}
local function found(code, key)
    findings[#findings + 1] = code
    findings[#findings + 1] = key
end

local fence = redis.call("HGET", meta_key, "fence")
if fence and last_fence() == 0 then found("fence_strange", string.sub(fence, 1, 40)) end
local waiting, indexed = redis.call("LLEN", wait_key), redis.call("HLEN", idx_key)
if waiting ~= indexed then
    found("wait_differs", waiting .. " in wait, " .. indexed .. " in idx")
end
compare_running(found)
return findings
