--[[
mirror_usage: write a count of the database, unless a newer one is there.

KEYS[1]  usage           string, reserved units of a month
KEYS[2]  versions        hash, usage key -> version of the mirrored value

ARGV[1]  value
ARGV[2]  version         whole number, rising with every change of the row
ARGV[3]  time to live    s

Returns  1 when written, 0 when what is there is as new
]]
local usage_key = KEYS[1]
local versions_key = KEYS[2]
local value = ARGV[1]
local version = ARGV[2]

local mirrored = redis.call("HGET", versions_key, usage_key)
local is_there = redis.call("EXISTS", usage_key) == 1
if is_there and mirrored and tonumber(mirrored) >= tonumber(version) then return 0 end
redis.call("SET", usage_key, value, "EX", ARGV[3])
redis.call("HSET", versions_key, usage_key, version)
return 1
