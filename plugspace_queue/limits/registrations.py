"""The limits that processors were registered with: of this process, else of the last worker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import QueueSettings, tenancy_queries
from plugspace_queue.models.queue import REGISTERED


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The limits declared by the registration of a processor; None for none."""

    concurrency: int | None = None
    limiter_max: int | None = None
    limiter_duration: float | None = None


_declared: dict[str, Declared] = {}


def declare(
    task_type: TaskType | str,
    *,
    concurrency: int | None = None,
    limiter: Mapping[str, float] | None = None,
) -> None:
    """Store the limits of a registration; `limiter` is {"max": starts, "duration": s}."""
    limiter = limiter or {}
    _declared[str(task_type)] = Declared(
        concurrency=concurrency,
        limiter_max=int(limiter["max"]) if "max" in limiter else None,
        limiter_duration=limiter.get("duration"),
    )


def of(kind: str) -> Declared:
    """The limits of the registration in this process; without one all are None."""
    return _declared.get(kind, Declared())


def in_force(row: QueueSettings) -> Declared:
    """The limits of the registration in this process, else of the last worker that had one."""
    asked = _declared.get(row.type)
    if asked is not None:
        return asked
    return Declared(**{name: getattr(row, f"registered_{name}") for name in REGISTERED})


def write(kinds: Iterable[str]) -> None:
    """Write what processors of this process were registered with, for processes without them."""
    for kind in kinds:
        asked = of(kind)
        columns = {f"registered_{name}": getattr(asked, name) for name in REGISTERED}
        tenancy_queries.write_registered(kind, columns)
