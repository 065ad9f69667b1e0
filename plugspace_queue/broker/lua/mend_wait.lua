#!lua flags=allow-oom
--[[
mend_wait: write `wait` anew from what idx knows, in the order it has.

Returns  how many wait
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
rebuild_wait()
return redis.call("LLEN", wait_key)
