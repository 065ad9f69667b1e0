-- Where a task is: waiting, running, delayed or absent. An id that RQ's own code has pushed, and
-- that was not adopted yet, counts as waiting (only the first MOST_PUSHED pushed ids are
-- searched).
local MOST_PUSHED = 10000

local function place_of(id)
    if redis.call("HEXISTS", idx_key, id) == 1 then return "waiting" end
    if redis.call("HEXISTS", own_key, id) == 1 then return "running" end
    if redis.call("ZSCORE", delayed_key, id) then return "delayed" end
    if redis.call("LPOS", inbox_key, id, "MAXLEN", MOST_PUSHED) then return "waiting" end
    return "absent"
end
