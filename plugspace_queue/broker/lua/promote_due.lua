#!lua flags=allow-oom
--[[
promote_due: promotes due tasks on time, even if no slot is free or a gate is shut.

ARGV[4]  refusal         message for jobs that are not ours, in RQ's encoding

Returns  {ms until the next one is due (0 = none is delayed), foreign ids}
]]
--@include _queue.lua
--@include _gates.lua
--@include _lanes.lua
--@include _arrivals.lua
local refusal = ARGV[4]

require_line()
adopt(refusal)
promote(refusal)
return {next_due(), foreign}
