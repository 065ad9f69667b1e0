-- The budget of one organization for inputs, contexts and results in Redis: bytes written within
-- the last RESULT_TTL. Above it copies are written without these values, which the rows still
-- have.
--
-- Bytes are counted in 24 buckets of a 23rd of that time each. As the newest bucket is incomplete,
-- all 24 together cover at least RESULT_TTL. Accounts are read once per call and written by
-- keep_accounts. In a block, as Lua allows at most 200 local names at the top level of a script.
local limit_payloads, fits, keep_accounts
do
    local BUCKETS = 24
    local budget, bucket_ms = 0, 1
    local accounts = {}

    -- Sets the budget in bytes (0 = no limit) and the window in ms, from the script's arguments.
    function limit_payloads(bytes, window_ms)
        budget = tonumber(bytes)
        bucket_ms = tonumber(window_ms) / (BUCKETS - 1)
    end

    local function fields_between(first, last)
        local fields = {}
        for bucket = first, last do fields[#fields + 1] = whole(bucket % BUCKETS) end
        return fields
    end

    -- A valid count, else nil: with "nan" a sum would never exceed the budget.
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

    -- Reads the buckets that still count; an account whose time is damaged starts from zero.
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

    -- Whether the organization's budget has room for the bytes; if so they are counted.
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

-- Adds members, and the result or its omission, to the JSON of an object. In one concatenation, as
-- each intermediate string would be another copy.
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

-- Members of a task's snapshot: all, or the lean ones when the budget is exceeded. Values that its
-- stored snapshot holds already were counted when it was written.
local function values_of(id, organization, all, lean)
    if lean == "" then return all end
    local held = redis.pcall("STRLEN", task_key(id))
    if type(held) == "number" and held >= #all then return all end
    return fits(organization, #all) and all or lean
end
