"""The project's own classes of RQ, for queues, jobs and workers that are not ours.

`RQ["STOCK_QUEUE_CLASS"]`, `RQ["STOCK_JOB_CLASS"]` and `RQ["STOCK_WORKER_CLASS"]` name them; without
them they are those that RQ and django-rq use in a project without this package.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django_rq.queues import DjangoRQ
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import DefaultSerializer
from rq.utils import ensure_job_list
from rq.worker import BaseWorker

from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.domain.rq_classes import STOCK_KEYS
from plugspace_queue.errors import translated as _

QUEUE, JOB, WORKER = (STOCK_KEYS[name] for name in ("QUEUE_CLASS", "JOB_CLASS", "WORKER_CLASS"))

DEFAULTS: Mapping[str, tuple[type[Any], type[Any]]] = {
    QUEUE: (DjangoRQ, Queue),
    JOB: (Job, Job),
    WORKER: (Worker, BaseWorker),
}
"""The class without a setting, and the one that a setting's class must extend."""

PICKLES = (
    None,
    "pickle",
    DefaultSerializer,
    "rq.serializers.DefaultSerializer",
    "rq.serializers.PickleSerializer",
)
"""What stands for pickle as a SERIALIZER; django-rq's commands pass it by default."""


def set_up() -> None:
    """Start Django for RQ's own command, which does not: our queues are those of declared types."""
    if not (apps.ready or apps.loading):
        django.setup()


def is_ours(name: str) -> bool:
    """Whether a queue is one of ours, by its name."""
    set_up()
    return type_of_queue(name) is not None


def class_of(key: str) -> type[Any]:
    """The class of one of the three keys. Raises ImproperlyConfigured for one that cannot be."""
    default, root = DEFAULTS[key]
    given = _setting("RQ").get(key)
    if given is None:
        return default
    try:
        found = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        raise ImproperlyConfigured(f"RQ[{key!r}]: {error}") from error
    if not (isinstance(found, type) and issubclass(found, root)):
        raise ImproperlyConfigured(
            f"RQ[{key!r}] is {given!r}: it must be a subclass of {root.__module__}.{root.__name__}."
        )
    if _extends_ours(found):
        raise ImproperlyConfigured(
            f"RQ[{key!r}] is {given!r}, which extends plugspace_queue's class: it belongs into "
            f"RQ[{key.removeprefix('STOCK_')!r}]."
        )
    return found


def faults() -> Iterator[str]:
    """What is wrong with the three keys, a sentence each."""
    for key in DEFAULTS:
        try:
            class_of(key)
        except ImproperlyConfigured as error:
            yield str(error)


def job_class(given: Any) -> Any:
    """The project's job class in the place of ours; any other one, or None, stays."""
    found = import_string(given) if isinstance(given, str) else given
    return class_of(JOB) if _extends_ours(found) else given


def _extends_ours(found: Any) -> bool:
    bases = getattr(found, "__mro__", ())
    return any(base.__module__.startswith(f"{__package__}.") for base in bases)


def serializer(given: Any, name: str) -> Any:
    """The SERIALIZER of a queue's entry where a worker was told pickle, which is the default.

    The jobs of the queue are written as the entry says.
    """
    return (_entry(name).get("SERIALIZER") or given) if given in PICKLES else given


def pickles(name: str) -> bool:
    """Whether a queue is not ours, and its jobs are pickles by its entry in RQ_QUEUES."""
    return not is_ours(name) and _entry(name).get("SERIALIZER") in PICKLES


def names_of(queues: Any) -> list[str]:
    """The names of what RQ calls queues: queues, names, or one of them."""
    return [str(getattr(queue, "name", queue)) for queue in ensure_job_list(queues)]


def mixed(names: list[str]) -> str:
    """Why one worker cannot have these queues; empty when it can."""
    strangers = [name for name in names if not is_ours(name)]
    if len(strangers) in (0, len(names)):
        return ""
    return _(
        "One worker runs queues of plugspace_queue or other queues, not both: start another"
        " rqworker for %(names)s."
    ) % {"names": ", ".join(strangers)}


def _entry(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _setting("RQ_QUEUES").get(name, {})
    return found


def _setting(name: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = getattr(settings, name, {})
    except ImproperlyConfigured:
        # RQ's own commands may name our classes without a Django project.
        return {}
    return found
