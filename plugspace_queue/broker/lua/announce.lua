#!lua flags=allow-oom
--[[
announce: write the snapshots and events of running attempts.

ARGV[4]  events kept     approximate length of the stream
ARGV[5]  budget          bytes of values an organization may write, 0 = no limit
ARGV[6]  window          ms over which they are counted
ARGV[7]  and on, 10 for each note: id, fence ("" = whichever runs), whether the event too is dropped
         when that attempt does not run (1), snapshot ("" = unchanged), its members and the lean
         ones ("" = none), event ("" = none), result to add to the event ("" = none, or too large),
         whether the result is too large (1), its organization

Returns  1; a snapshot is written only while its attempt runs, so that a late note neither
         overwrites a final one nor shows an earlier attempt.
]]
--@include _queue.lua
--@include _payloads.lua
local events_kept = ARGV[4]
local FIRST, FIELDS = 7, 10

limit_payloads(ARGV[5], ARGV[6])

local asked = {}
for i = FIRST, #ARGV, FIELDS do
    if ARGV[i + 2] == "1" or ARGV[i + 3] ~= "" then asked[#asked + 1] = ARGV[i] end
end
local owner_of = read_many(own_key, asked)

-- The organization of the running attempt, if it has this fence.
local function running_of(id, fence)
    local owned, organization = string.match(owner_of[id] or "", "^(%d+)|%d:([^|]*)|")
    if fence == "" or fence == owned then return organization end
    return nil
end

local function write_snapshot(i, organization)
    local id, snapshot = ARGV[i], ARGV[i + 3]
    if snapshot == "" then return end
    local members = values_of(id, organization, ARGV[i + 4], ARGV[i + 5])
    redis.call("SET", task_key(id), with(snapshot, members))
end

local function append(i)
    local event, result = ARGV[i + 6], ARGV[i + 7]
    if event == "" then return end
    local is_told = result ~= "" and fits(ARGV[i + 9], #result)
    event = with(event, "", is_told and result, result ~= "" or ARGV[i + 8] == "1")
    tell(event, events_kept)
end

for i = FIRST, #ARGV, FIELDS do
    local is_bound = ARGV[i + 2] == "1"
    local asks = is_bound or ARGV[i + 3] ~= ""
    local organization = asks and running_of(ARGV[i], ARGV[i + 1])
    if organization then write_snapshot(i, organization) end
    if organization or not is_bound then append(i) end
end
keep_accounts()
return 1
