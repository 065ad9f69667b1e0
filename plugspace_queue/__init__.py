"""A multi-tenant task queue for Django: rows are the truth, RQ and Redis do the work.

`queue_manager`, `processor` and `Context` load on first use, so that the package may stand in
INSTALLED_APPS before any model exists.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from plugspace_queue import errors
from plugspace_queue.domain.catalog import task_type
from plugspace_queue.domain.kinds import workflow_kind
from plugspace_queue.domain.steps import From
from plugspace_queue.domain.task_types import Limiter, TaskType

if TYPE_CHECKING:
    from plugspace_queue.manager import queue_manager
    from plugspace_queue.processing.context import Context
    from plugspace_queue.processing.registry import processor

__all__ = [
    "Context",
    "From",
    "Limiter",
    "TaskType",
    "errors",
    "processor",
    "queue_manager",
    "task_type",
    "workflow_kind",
]

__version__ = "0.2.0"

_LAZY = {
    "Context": "plugspace_queue.processing.context",
    "queue_manager": "plugspace_queue.manager",
    "processor": "plugspace_queue.processing.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
