--[[
counts: how many tasks wait, run and are delayed.

Returns  {waiting, active, delayed}
]]
--@include _queue.lua
return {
    redis.call("LLEN", wait_key), redis.call("LLEN", active_key), redis.call("ZCARD", delayed_key)
}
