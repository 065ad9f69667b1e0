-- A busy month of a site in a migrated, empty PostgreSQL database, made by the server itself.
-- {tasks}: rows of the largest tables. A third belongs to `org-0`; the newest fiftieth is open.
-- {now}: when the newest was accepted; the server's own moves from statement to statement.
-- Statements are parted by lines of dashes. Run as a superuser: no trigger checks keys row by row.

SET session_replication_role = replica;
SET synchronous_commit = off;
----
CREATE FUNCTION pg_temp.moment(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT '{now}'::timestamptz - interval '30 days' * (1 - n::float / {tasks})
$$;
----
-- An id of version 7 for the n-th row of a kind.
CREATE FUNCTION pg_temp.id_of(n bigint, kind text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (
        lpad(to_hex((extract(epoch FROM pg_temp.moment(n)) * 1000)::bigint), 12, '0')
        || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(n || kind), 1, 15)
    )::uuid
$$;
----
CREATE FUNCTION pg_temp.organization_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n / 5 % 3 = 0 THEN 'org-0' ELSE 'org-' || (n / 5 * 7919) % 1000 END
$$;
----
CREATE FUNCTION pg_temp.type_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['ARCHITECT', 'DESIGN', 'CODE', 'ANALYZE', 'DEPLOY', 'EXPORT'])[1 + (n * 7) % 6]
$$;
----
INSERT INTO plugspace_queue_organization
    (id, name, tier_id, is_suspended, is_paused, paused_at, created_at)
SELECT 'org-' || n, 'Organization ' || n,
    (ARRAY['enterprise', 'professional', 'starter', 'free'])[1 + n % 4],
    n % 97 = 0 AND n > 0, false, NULL, now()
FROM generate_series(0, 999) AS n;
----
INSERT INTO plugspace_queue_membership (organization_id, user_id, role)
SELECT 'org-' || n, {user}, 'member' FROM generate_series(0, 999) AS n;
----
INSERT INTO plugspace_queue_apikey (
    organization_id, name, prefix, digest, scopes, created_at, expires_at, last_used_at, revoked_at
)
SELECT 'org-' || n, 'site', 'psq_' || n, md5(n::text), '["submit"]', now(), NULL, NULL, NULL
FROM generate_series(0, 999) AS n;
----
INSERT INTO plugspace_queue_workflow
    (id, kind, organization_id, project_id, user_id, input, created_at)
SELECT pg_temp.id_of(n * 5, 'workflow'),
    CASE WHEN n % 1000 = 1 THEN 'analyze-only' WHEN n % 10 = 0 THEN 'clone' ELSE 'create' END,
    pg_temp.organization_of(n * 5), 'project-' || n % 5000, 'user-' || n % 300,
    '{{"prompt": "A bakery in Lisbon"}}', pg_temp.moment(n * 5)
FROM generate_series(1, {tasks} / 5) AS n;
----
INSERT INTO plugspace_queue_task (
    id, type, organization_id, project_id, user_id, priority, input, context, state, result,
    error, progress, queued_at, started_at, completed_at, duration, tokens_used, cost, retry_count,
    max_retries, recovery_count, deferral_count, attempt_count, ttl, fence, worker_name, wake_at,
    deadline, cancel_requested_at, open_deps, workflow_id, step, charged_month, refunded_at
)
SELECT id, type, organization, 'project-' || n / 5 % 5000, 'user-' || n % 300, n % 4,
    '{{"prompt": "A bakery in Lisbon, with opening hours and a map"}}',
    '{{"iterationCount": 0, "maxIterations": 10, "previousTasks": []}}', state,
    CASE WHEN state = 'complete' THEN jsonb_build_object('summary', repeat('lorem ', 40)) END,
    CASE WHEN state IN ('failed', 'cancelled', 'expired')
        THEN '{{"code": "TIMEOUT", "message": "too slow", "retryable": true}}'::jsonb END,
    NULL, at,
    CASE WHEN is_started THEN at + interval '2 s' END,
    CASE WHEN is_final THEN at + interval '9 s' END,
    CASE WHEN state = 'complete' THEN 7000 END,
    CASE WHEN is_started THEN 1200 ELSE 0 END, CASE WHEN is_started THEN 0.012 ELSE 0 END,
    CASE WHEN state = 'retrying' THEN 1 ELSE 0 END, 3, 0, 0, is_started::int, 3600,
    CASE WHEN is_started THEN n ELSE 0 END, CASE WHEN is_started THEN 'worker-a' ELSE '' END,
    CASE WHEN state IN ('scheduled', 'retrying') THEN now() + interval '1 day' END,
    CASE WHEN state = 'waiting' THEN now() + interval '1 day' END,
    NULL, CASE WHEN state = 'blocked' THEN 1 ELSE 0 END,
    CASE WHEN n % 5 < 3 AND n >= 5 THEN pg_temp.id_of(n - n % 5, 'workflow') END,
    CASE WHEN n % 5 < 3 THEN n % 5 END, to_char(at, 'YYYY-MM'), NULL
FROM (
    SELECT n, pg_temp.id_of(n, 'task') AS id, pg_temp.type_of(n) AS type,
        pg_temp.organization_of(n) AS organization, pg_temp.moment(n) AS at, state,
        state IN ('complete', 'failed', 'cancelled', 'expired') AS is_final,
        state IN ('complete', 'failed', 'retrying') AS is_started
    FROM (
        SELECT n, CASE
            WHEN n > {tasks} * 0.98 THEN CASE n % 50
                WHEN 1 THEN 'scheduled' WHEN 2 THEN 'retrying' WHEN 3 THEN 'blocked' ELSE 'waiting'
            END
            -- Rare ones, and of `expired` only old ones: what a list must walk far for.
            WHEN n % 1000 < 20 THEN 'failed'
            WHEN n % 1000 < 25 THEN 'cancelled'
            WHEN n % 1000 < 28 AND n < {tasks} / 10 THEN 'expired'
            ELSE 'complete'
        END AS state
        FROM generate_series(1, {tasks}) AS n
    ) AS numbered
) AS row;
----
INSERT INTO plugspace_queue_dependency (task_id, parent_id)
SELECT pg_temp.id_of(n, 'task'), pg_temp.id_of(n - 1, 'task')
FROM generate_series(5, {tasks}) AS n
WHERE n % 5 IN (1, 2);
----
INSERT INTO plugspace_queue_attempt (
    task_id, number, fence, worker_name, started_at, ended_at, outcome, error, tokens_used, cost, log
)
SELECT id, 1, fence, worker_name, started_at, coalesce(completed_at, started_at),
    CASE WHEN fence % 50000 = 7 THEN 'lost' WHEN state = 'failed' THEN 'failed'
        WHEN state = 'retrying' THEN 'retry' ELSE 'complete' END,
    error, 1200, 0.012, '[]'
FROM plugspace_queue_task WHERE started_at IS NOT NULL ORDER BY id;
----
INSERT INTO plugspace_queue_usageentry
    (organization_id, type, month, reason, units, tokens, cost, task_id, note, created_at)
SELECT organization_id, type, charged_month, reason, units, tokens, cost_of_it, id, '', queued_at
FROM plugspace_queue_task, LATERAL (VALUES
    (1, 'reserve', 1, 0, 0.0, true),
    (2, 'settle', 0, tokens_used, cost, attempt_count > 0),
    (3, 'refund', -1, 0, 0.0, fence % 20000 = 3)
) AS line (place, reason, units, tokens, cost_of_it, is_there)
WHERE is_there ORDER BY id, place;
----
INSERT INTO plugspace_queue_monthlyusage (organization_id, type, month, used, version)
SELECT 'org-' || n, type, to_char(now() - interval '1 month' * back, 'YYYY-MM'), n, 1
FROM generate_series(0, 999) AS n, generate_series(0, 11) AS back,
    unnest(ARRAY['ARCHITECT', 'DESIGN', 'CODE', 'ANALYZE', 'DEPLOY', 'EXPORT']) AS type;
----
INSERT INTO plugspace_queue_idempotencykey (organization_id, key, fingerprint, task_id, workflow_id)
SELECT pg_temp.organization_of(n), 'order-' || n, md5(n::text), pg_temp.id_of(n, 'task'), NULL
FROM generate_series(1, {tasks}, 4) AS n;
----
INSERT INTO plugspace_queue_queueminute
    (type, minute, completed, failed, wait_median, wait_most)
SELECT type, date_trunc('minute', now()) - interval '1 minute' * back, 100000 - back * 9,
    1000 - back / 100, 900, 2700
FROM generate_series(0, 10079) AS back,
    unnest(ARRAY['ARCHITECT', 'DESIGN', 'CODE', 'ANALYZE', 'DEPLOY', 'EXPORT']) AS type;
----
INSERT INTO django_admin_log (
    action_time, object_id, object_repr, action_flag, change_message, content_type_id, user_id
)
SELECT pg_temp.moment(n * 10), pg_temp.id_of(n * 10, 'task'), 'task ' || n, 2,
    'Go again: the model is back', kind.id, {user}
FROM generate_series(1, {tasks} / 10) AS n, django_content_type AS kind
WHERE kind.app_label = 'plugspace_queue' AND kind.model = 'task';
----
SET session_replication_role = origin;
