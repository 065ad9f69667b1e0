"""Ids ordered by time: UUIDs of version 7 (RFC 9562), strictly rising within one process."""

import os
import threading
import time
import uuid
from datetime import datetime

SYSTEM = "_system"
"""The organization of work without a tenant; there are no credentials for it."""

_lock = threading.Lock()
_last = 0


def new_id() -> uuid.UUID:
    """A new id; its first 48 bits are milliseconds since 1970, the next 12 a counter."""
    return uuid.UUID(int=(_tick() << 64) | _VARIANT | _random_bits())


_VARIANT = 0b10 << 62


def _random_bits() -> int:
    return int.from_bytes(os.urandom(8), "big") >> 2


def _tick() -> int:
    """The upper half: time in ms, version, sub-millisecond part, above every earlier one."""
    global _last
    nanoseconds = time.time_ns()
    fraction = (nanoseconds % 1_000_000) * 4096 // 1_000_000
    stamp = (nanoseconds // 1_000_000) << 12 | fraction
    with _lock:
        _last = stamp = max(stamp, _last + 1)
    return (stamp >> 12) << 16 | 7 << 12 | (stamp & 0xFFF)


def first_id(moment: datetime) -> uuid.UUID:
    """Above every id made before `moment`, below each made from then on."""
    milliseconds = round(moment.timestamp() * 1000)
    return uuid.UUID(int=min(max(milliseconds, 0), (1 << 48) - 1) << 80)


def parse_id(value: object) -> uuid.UUID | None:
    """The id in `value` (a UUID or its text), or None when it is none."""
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None
