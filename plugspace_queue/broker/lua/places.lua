--[[
places: where tasks are.

ARGV[4]  and on          ids

Returns  one word for each: waiting, running, delayed or absent; waiting too when RQ's own code
         has pushed the id and no worker has seen it yet.
]]
--@include _queue.lua
--@include _places.lua
local places = {}
for i = 4, #ARGV do places[#places + 1] = place_of(ARGV[i]) end
return places
