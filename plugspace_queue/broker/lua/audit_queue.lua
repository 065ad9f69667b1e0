--[[
audit_queue: what a queue's structures say against each other; nothing is changed.

Returns  {length of wait, size of idx, disagreements about running attempts (word, key in a row)};
         words: active, lease, record (RQ's), line (runs and waits), count (of an organization)
]]
--@include _queue.lua
--@include _running.lua
local disagreements = {}
compare_running(function(word, key)
    disagreements[#disagreements + 1] = word
    disagreements[#disagreements + 1] = key
end)
return {redis.call("LLEN", wait_key), redis.call("HLEN", idx_key), disagreements}
