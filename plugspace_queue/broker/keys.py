"""Every Redis key of ours: one function a key; the docstring gives type, meaning, time to live.

`docs/redis.md` is written from this file. RQ's own keys keep RQ's names.
"""

from plugspace_queue.conf import get_settings


def _key(*parts: str) -> str:
    return ":".join((get_settings().key_prefix, *parts))


def queue(name: str) -> str:
    """sorted set · the queue itself: its lanes in service order · none."""
    return _key(name)


def wait(name: str) -> str:
    """list · ids of waiting tasks of all priorities; LLEN is exact · none."""
    return _key(name, "wait")


def active(name: str) -> str:
    """list · ids running now; LLEN is exact · none."""
    return _key(name, "active")


def lane(name: str, band: int, organization_id: str) -> str:
    """list · one organization's waiting line in one band, oldest first · none."""
    return _key(name, "lane", f"{band}:{organization_id}")


def idx(name: str) -> str:
    """hash · waiting id → `<index in wait>|<lane>` · none."""
    return _key(name, "idx")


def own(name: str) -> str:
    """hash · running id → `<fence>|<lane>|<worker>|<execution>` · none."""
    return _key(name, "own")


def lease(name: str) -> str:
    """sorted set · running id → end of its lease in ms of the server's clock · none."""
    return _key(name, "lease")


def meta(name: str) -> str:
    """hash · paused, limits, policy and their version, last fence, lifetime counts · none."""
    return _key(name, "meta")


def marker(name: str) -> str:
    """sorted set · one member when there may be work; workers block on it · none."""
    return _key(name, "marker")


def limiter(name: str) -> str:
    """list · start times in ms within the queue limiter's window · none."""
    return _key(name, "limiter")


def running(name: str) -> str:
    """hash · organization → its running tasks in this queue · none."""
    return _key(name, "running")


def parked(name: str) -> str:
    """sorted set · lanes off the ring while capped or paused, with their tags · none."""
    return _key(name, "parked")


def virtual_time(name: str) -> str:
    """hash · band → virtual time of the fair order · none."""
    return _key(name, "vt")


def finished_tags(name: str, band: int) -> str:
    """sorted set · lane that ran empty → its finish tag; trimmed by tick · none."""
    return _key(name, "fin", str(band))


def workers(name: str) -> str:
    """sorted set · worker → when this queue saw it last, in ms of the server's clock · none."""
    return _key(name, "workers")


def trouble(name: str) -> str:
    """string · why no worker can work on this queue: damaged data · 15 s after the last try."""
    return _key(name, "trouble")


def slots(name: str) -> str:
    """hash · worker → its slots for this queue, 0 without a processor · none."""
    return _key(name, "slots")


def paused_organizations() -> str:
    """set · organizations whose lanes are parked by an operator · none."""
    return _key("paused")


def epoch() -> str:
    """string · missing when Redis lost its data; then rows are published again · none."""
    return _key("epoch")


def reconciler() -> str:
    """string · token of the worker whose turn it is to compare rows and Redis · 30 s."""
    return _key("reconciler")


def events() -> str:
    """stream · what happened to tasks, newest last, capped · none."""
    return _key("events")


def metrics() -> str:
    """hash · what `/metrics` shows: `<name>|<label>|…` → count · none."""
    return _key("metrics")


def task(task_id: str) -> str:
    """string · JSON AgentTask; large input, context, result left out · retention after the end,
    RESULT_TTL with values of more than 1 KiB."""
    return _key("task", task_id)


def workflow(workflow_id: str) -> str:
    """string · JSON of a workflow and the states of its steps · retention after the end."""
    return _key("workflow", workflow_id)


def result(task_id: str, task_type: str) -> str:
    """string · JSON result, above SNAPSHOT_LIMIT `{"note", "taskId", "path"}` · RESULT_TTL."""
    return _key("result", task_id, task_type)


def ratelimit(organization_id: str) -> str:
    """string · requests in the organization's running window · the window."""
    return _key("ratelimit", organization_id)


def usage(organization_id: str, task_type: str, month: str) -> str:
    """string · reserved units of a month (YYYY-MM, UTC), a mirror of SQL · 62 days."""
    return _key("usage", organization_id, task_type, month)


def usage_version(organization_id: str, task_type: str, month: str) -> str:
    """string · version of the mirrored units, so that an older one never wins · 62 days."""
    return _key("usage", organization_id, task_type, month, "version")


def organization_tasks(organization_id: str) -> str:
    """sorted set · newest task ids by time, capped · none."""
    return _key("org", organization_id, "tasks")


def organization_written(organization_id: str) -> str:
    """hash · bytes of values written to Redis, in 24 buckets: its PAYLOAD_BUDGET · RESULT_TTL."""
    return _key("org", organization_id, "written")


def organization_exports(organization_id: str) -> str:
    """hash · bytes of exports by when they expire: its EXPORT_BUDGET · until the last expires."""
    return _key("org", organization_id, "exports")


def organization_tier(organization_id: str) -> str:
    """string · slug of the tier, a mirror of SQL · none."""
    return _key("org", organization_id, "tier")


def export(export_id: str) -> str:
    """string · the bytes of an export · EXPORT_TTL."""
    return _key("export", export_id)


def export_meta(export_id: str) -> str:
    """hash · file name and organization of an export · EXPORT_TTL."""
    return _key("export", export_id, "meta")
