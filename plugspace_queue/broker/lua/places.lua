--[[
places: where tasks are.

ARGV[4]  and on          ids

Returns  one word for each: waiting, running, delayed or absent; an id that RQ's own code has
         pushed, and that was not adopted yet, counts as waiting.
]]
--@include _queue.lua
--@include _places.lua
local places = {}
for i = 4, #ARGV do places[#places + 1] = place_of(ARGV[i]) end
return places
