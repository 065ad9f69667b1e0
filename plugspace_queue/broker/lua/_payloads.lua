-- What the copies in Redis may hold of one organization's inputs, contexts and results: so many
-- bytes written in the last RESULT_TTL. Above it a copy is written without them; rows have them.
--
-- Counted in 24 buckets, each a 23rd of that time: the newest is not over, and together they cover
-- all that may still be there. Accounts are read once for each call and written by keep_accounts.
-- In a block: one script may have no more than 200 local names at its top.
local limit_payloads, fits, keep_accounts
do
    local BUCKETS = 24
    local budget, bucket_ms = 0, 1
    local accounts = {}

    -- Bytes (0 = no limit) and the ms they are counted over: arguments of the script.
    function limit_payloads(bytes, window_ms)
        budget = tonumber(bytes)
        bucket_ms = tonumber(window_ms) / (BUCKETS - 1)
    end

    local function fields_between(first, last)
        local fields = {}
        for bucket = first, last do fields[#fields + 1] = whole(bucket % BUCKETS) end
        return fields
    end

    -- A count as this file writes it, else nil: with "nan" no sum would ever be above the budget.
    local function count_in(text)
        return text and #text <= 15 and string.match(text, "^%d+$") and tonumber(text) or nil
    end

    local function sum_of(account, fields)
        local sum = 0
        for _, bytes in ipairs(redis.call("HMGET", account.key, unpack(fields))) do
            sum = sum + (count_in(bytes) or 0)
        end
        return sum
    end

    -- What its buckets hold that are still counted; nothing of an account whose time cannot be read.
    local function read_account(account)
        local found = redis.pcall("HMGET", account.key, "sum", "at", account.field)
        local at = count_in(found[2])
        local passed = at and account.bucket - at
        if not passed or passed < 0 or passed >= BUCKETS then
            account.is_new = true
            return
        end
        account.sum = count_in(found[1]) or sum_of(account, fields_between(0, BUCKETS - 1))
        account.here = count_in(found[3]) or 0
        if passed == 0 then return end
        account.here = 0
        account.passed = fields_between(at + 1, account.bucket)
        account.sum = account.sum - sum_of(account, account.passed)
    end

    local function account_of(organization)
        if accounts[organization] then return accounts[organization] end
        local bucket = math.floor(now / bucket_ms)
        local account = {
            key = ours .. ":org:" .. organization .. ":written", bucket = bucket,
            field = whole(bucket % BUCKETS), sum = 0, here = 0, added = 0
        }
        read_account(account)
        accounts[organization] = account
        return account
    end

    -- Whether so many bytes more are within the organization's budget; if so they are counted.
    function fits(organization, bytes)
        if budget == 0 then return true end
        local account = account_of(organization)
        if account.sum + bytes > budget then return false end
        account.sum = account.sum + bytes
        account.here = account.here + bytes
        account.added = account.added + bytes
        return true
    end

    local function keep_account(account)
        if account.is_new then redis.call("DEL", account.key) end
        if account.passed then redis.call("HDEL", account.key, unpack(account.passed)) end
        redis.call(
            "HSET", account.key, "sum", whole(account.sum), "at", whole(account.bucket),
            account.field, whole(account.here)
        )
        if account.is_new or account.passed then
            redis.call("PEXPIRE", account.key, whole(math.ceil(bucket_ms * BUCKETS)))
        end
    end

    function keep_accounts()
        for _, account in pairs(accounts) do
            if account.added > 0 then keep_account(account) end
        end
    end
end

-- JSON of an object with further members, and with its result or without it. In one step: each
-- string in between would be a copy of it.
local OMITTED = ',"result":null,"resultOmitted":true'
local function with(text, members, result, is_omitted)
    if result then
        return string.sub(text, 1, -2) .. members .. ',"result":' .. result .. "}"
    elseif is_omitted then
        return string.sub(text, 1, -2) .. members .. OMITTED .. "}"
    elseif members ~= "" then
        return string.sub(text, 1, -2) .. members .. "}"
    end
    return text
end

-- Members of a task's snapshot: all, or the lean ones above the budget. What its snapshot holds
-- already was counted when that was written.
local function values_of(id, organization, all, lean)
    if lean == "" then return all end
    local held = redis.pcall("STRLEN", task_key(id))
    if type(held) == "number" and held >= #all then return all end
    return fits(organization, #all) and all or lean
end
