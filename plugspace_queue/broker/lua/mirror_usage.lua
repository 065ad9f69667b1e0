--[[
mirror_usage: writes a count of the database, unless a newer one is stored.

KEYS[1]  usage           string, reserved units of a month
KEYS[2]  version         string, of the mirrored value; expires with it

ARGV[1]  value
ARGV[2]  version         whole number, rising with every change of the row
ARGV[3]  time to live    s

Returns  1 when written, 0 when the stored value is as new
]]
local usage_key = KEYS[1]
local version_key = KEYS[2]
local version = ARGV[2]

local mirrored = redis.call("GET", version_key)
local is_there = redis.call("EXISTS", usage_key) == 1
if is_there and mirrored and tonumber(mirrored) >= tonumber(version) then return 0 end
redis.call("SET", usage_key, ARGV[1], "EX", ARGV[3])
redis.call("SET", version_key, version, "EX", ARGV[3])
return 1
