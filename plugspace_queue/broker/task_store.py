"""The queues in Redis: one typed function per script.

Each returns a Call; `scripts.run` sends many of them in one round trip. Queues have their RQ names
(`code`), tasks the text of their ids.
"""

import base64
import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from plugspace_queue.broker import keys
from plugspace_queue.broker.result_notes import result_note
from plugspace_queue.broker.scripts import Arg, Call, raw
from plugspace_queue.broker.scripts import on_queue as _call
from plugspace_queue.broker.types import (
    Counts,
    Entry,
    Grant,
    Lease,
    Note,
    Place,
    PlaceName,
    Reaped,
    Settlement,
    Tick,
    Window,
)
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import json_text
from plugspace_queue.schemas.task import Values

__all__ = [
    "Counts",
    "Entry",
    "Grant",
    "Lease",
    "Note",
    "Place",
    "Reaped",
    "Settlement",
    "Tick",
    "Window",
    "acquire",
    "announce",
    "bump_fence",
    "configure",
    "counts",
    "empty",
    "hit_request_window",
    "keep_task",
    "mirror_usage",
    "pause_organization",
    "places",
    "promote_due",
    "set_band",
    "settle",
    "snapshot",
    "submit",
    "submit_all",
    "tick",
    "withdraw",
]

PERFORM = "plugspace_queue.processing.perform"
REFUSAL = "plugspace_queue refuses stock jobs on this queue; use queue_manager.add_task"
MOST_ENTRIES = 500
MOST_FENCE = 2**53 - 2**40
"""Upper bound of fences: Lua cannot tell numbers above 2^53 apart, and later fences need room."""

USAGE_TTL = 62 * 86_400
NO_VALUES = Values("", "")


def submit(queue: str, entries: Sequence[Entry]) -> Call[int]:
    """Add tasks to the queue; the answer is how many were not in it already.

    A task that waits, runs or is delayed is not added again. At most 500 per call (ValueError);
    all are validated before the first is written.
    """
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"{len(entries)} entries: submit_all makes calls of {MOST_ENTRIES}.")
    conf = get_settings()
    args: list[Arg] = [PERFORM, conf.result_ttl, conf.org_tasks_maxlen, *_budget()]
    for entry in entries:
        args.extend(_entry(entry))
    return _call("submit", queue, args, int)


def submit_all(queue: str, entries: Sequence[Entry]) -> list[Call[int]]:
    """`submit` for any number, as calls of a size that does not block the server for long."""
    starts = range(0, len(entries), MOST_ENTRIES)
    return [submit(queue, entries[start : start + MOST_ENTRIES]) for start in starts]


def acquire(queue: str, *, worker: str, want: int, lease_ms: int) -> Call[Grant]:
    """Leases on the next tasks in fair order, or the gate that is shut; `want` at most 48."""
    return _call("acquire", queue, [worker, want, lease_ms, _refusal()], _grant)


def settle(queue: str, settlements: Sequence[Settlement]) -> Call[list[bool]]:
    """Close attempts; False if the fence no longer owns the task, and nothing was written."""
    args: list[Arg] = [get_settings().events_maxlen, *_budget(), result_note()]
    for settlement in settlements:
        args.extend(_settlement(settlement))
    return _call("settle", queue, args, _truths)


def announce(queue: str, notes: Sequence[Note]) -> Call[bool]:
    """Write copies and events of running attempts; harmless when repeated or late."""
    args: list[Arg] = [get_settings().events_maxlen, *_budget()]
    for note in notes:
        args.extend(_note(note))
    return _call("announce", queue, args, bool)


def bump_fence(queue: str, fence: int) -> Call[None]:
    """Make all later leases of the queue have fences above this one."""
    return _call("bump_fence", queue, [fence], _nothing)


def tick(
    queue: str, *, worker: str, held: Mapping[str, int], lease_ms: int, reap: bool
) -> Call[Tick]:
    """Renew the leases in `held` (id → fence), end expired ones, promote due tasks."""
    args: list[Arg] = [worker, lease_ms, int(reap), _refusal()]
    for task_id, fence in held.items():
        args.extend((task_id, fence))
    return _call("tick", queue, args, _tick)


def promote_due(queue: str) -> Call[tuple[int, list[str]]]:
    """Promote due tasks; ms until the next is due (0 = none), ids of refused stock jobs."""
    return _call("promote_due", queue, [_refusal()], lambda reply: (reply[0], _texts(reply[1])))


def set_band(queue: str, task_id: str, band: int) -> Call[bool]:
    """Set the band in which a running task waits next; False when its job does not exist."""
    return _call("set_band", queue, [task_id, band], bool)


def withdraw(queue: str, ids: Sequence[str]) -> Call[list[Place]]:
    """Remove waiting and delayed tasks from the queue; running ones stay."""
    return _call("withdraw", queue, [raw(id_) for id_ in ids], _places)


def configure(
    queue: str,
    *,
    paused: bool,
    concurrency: int,
    limiter_max: int,
    limiter_ms: int,
    organization_cap: int,
    weighted: bool,
    version: int,
    overridden: Mapping[str, int] | None = None,
) -> Call[None]:
    """Set the gates of the queue; 0 means no limit. They apply from the next acquire on.

    `overridden` says until when (ms, 0: no end) the limit of a gate is not the usual one. Nothing
    is written when a higher version is stored.
    """
    limits = (concurrency, limiter_max, limiter_ms, organization_cap)
    until = json_text.encode(overridden) if overridden else ""
    args: list[Arg] = [int(paused), *limits, int(weighted), version, until]
    return _call("configure", queue, args, _nothing)


def pause_organization(queue: str, organization_id: str, paused: bool) -> Call[None]:
    """Pause or resume an organization; has to be called for each queue."""
    return _call("pause_organization", queue, [raw(organization_id), int(paused)], _nothing)


def counts(queue: str) -> Call[Counts]:
    """How many tasks wait, run and are delayed."""
    return _call("counts", queue, [], lambda reply: Counts(*reply))


def places(queue: str, ids: Sequence[str]) -> Call[list[PlaceName]]:
    """Where each task is: waiting, running, delayed or absent."""
    return _call("places", queue, ids, lambda reply: [cast(PlaceName, _text(n)) for n in reply])


def empty(queue: str) -> Call[list[str]]:
    """Remove up to 500 waiting tasks; the answer is their ids, empty when none is left."""
    return _call("empty", queue, [MOST_ENTRIES], _texts)


def snapshot(task_id: str, text: str, ttl: int = 0) -> Call[int]:
    """Store a task's JSON for `ttl` seconds (0 = for ever); returns 0, as nothing is queued."""
    return Call("snapshot", (keys.task(task_id),), (text, ttl), lambda reply: 0)


def keep_task(
    queue: str, task_id: str, organization_id: str, text: str, values: Values, ttl: int = 0
) -> Call[int]:
    """The same for a task with values that count in its organization's budget."""
    args: list[Arg] = [*_budget(), task_id, organization_id, text, *values, ttl]
    return _call("keep_task", queue, args, int)


def mirror_usage(account: tuple[str, str, str], value: int, version: int) -> Call[bool]:
    """Write the reserved units of an account, unless a newer version is stored."""
    places = (keys.usage(*account), keys.usage_version(*account))
    return Call("mirror_usage", places, (value, version, USAGE_TTL), bool)


def hit_request_window(organization_id: str, limit: int, window_ms: int) -> Call[Window]:
    """Count one request in the organization's window; a refused one is not counted."""
    key = (keys.ratelimit(organization_id),)
    return Call(
        "hit_request_window",
        key,
        (limit, window_ms),
        Window._make,
    )


def _entry(entry: Entry) -> tuple[Arg, ...]:
    created = datetime.fromisoformat(entry.created_at).astimezone(UTC)
    return (
        entry.task_id,
        entry.band,
        entry.organization_id,
        entry.snapshot,
        *(entry.values or NO_VALUES),
        entry.due_ms,
        int(entry.front),
        entry.timeout,
        f"{created.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
        int(created.timestamp() * 1000),
        entry.description,
    )


def _note(note: Note) -> tuple[Arg, ...]:
    return (
        note.task_id,
        note.fence or "",
        int(note.is_bound),
        note.snapshot or "",
        *(note.values or NO_VALUES),
        note.event or "",
        note.result,
        int(note.is_large),
        note.organization_id,
    )


def _budget() -> tuple[int, int]:
    """Bytes of values an organization may write (0: no limit), and the ms they are counted over."""
    conf = get_settings()
    return conf.payload_budget or 0, max(conf.result_ttl, 1) * 1000


def _settlement(one: Settlement) -> tuple[Arg, ...]:
    ttl = get_settings().result_ttl if one.result_ttl is None else one.result_ttl
    return (
        one.task_id,
        one.fence,
        one.outcome,
        one.snapshot or "",
        *(one.values or NO_VALUES),
        one.snapshot_ttl,
        one.result or "",
        int(one.is_large),
        int(one.tells_result),
        ttl,
        _pointer(one) if one.result or one.is_large else "",
        _failure(one.error) if one.outcome in ("fail", "stopped") else "",
        one.due_ms,
        one.event or "",
        one.task_type,
        int(one.counted),
    )


def _pointer(one: Settlement) -> bytes:
    """RQ's return value: the key of the result, which is stored only once."""
    place = {"key": keys.result(one.task_id, one.task_type)}
    return base64.b64encode(json_text.encode(place).encode())


def _failure(text: str) -> bytes:
    """A failure in RQ's encoding."""
    return base64.b64encode(zlib.compress(text.encode(errors="replace")))


@functools.cache
def _refusal() -> bytes:
    return _failure(REFUSAL)


def _grant(reply: list[Any]) -> Grant:
    status, retry_ms, flat, foreign = reply
    leases = [
        Lease(_text(id_), int(fence), _text(execution), _text(organization), int(band))
        for id_, fence, execution, organization, band in _rows(flat, 5)
    ]
    return Grant(cast(Any, _text(status)), retry_ms, leases, _texts(foreign))


def _tick(reply: list[Any]) -> Tick:
    lost, flat, handed_back, foreign, due_ms = reply
    reaped = [
        Reaped(_text(id_), int(fence), _text(worker)) for id_, fence, worker in _rows(flat, 3)
    ]
    return Tick(_texts(lost), reaped, _texts(handed_back), _texts(foreign), due_ms)


def _places(reply: list[Any]) -> list[Place]:
    return [Place(cast(Any, _text(name)), _text(worker)) for name, worker in _rows(reply, 2)]


def _rows(flat: list[Any], width: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * width, strict=True)


def _truths(reply: list[int]) -> list[bool]:
    return [bool(one) for one in reply]


def _nothing(reply: object) -> None:
    return None


def _texts(values: list[Any]) -> list[str]:
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    # Foreign ids may be invalid UTF-8; a parse error here would lose the granted leases.
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
