"""Resolves the addresses of django-rq's pages; Http404 for what does not exist or is not allowed.

The stock views do not check their addresses, so a wrong one would cause a server error.
"""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _
from django_rq.queues import get_queue_by_index, get_scheduler_by_index
from django_rq.settings import get_queues_list
from rq import Queue, Worker
from rq.job import Job
from rq.utils import as_text

from plugspace_queue.domain.catalog import type_of_queue
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.models import task_queries
from plugspace_queue.rq import stock

INDEXES = ("queue_index", "scheduler_index")
"""The parts of an address that name a queue, by its place among all of them."""

CHOSEN = ("job_ids", "_selected_action")
"""The fields in which the forms of RQ's lists name jobs."""


def name_of(kwargs: Mapping[str, Any]) -> str | None:
    """The name of the queue that an address is about, or None for one without."""
    index = next((kwargs[name] for name in INDEXES if name in kwargs), None)
    if index is None:
        return None
    queues = get_queues_list()
    if index >= len(queues):
        raise Http404(_("There is no such queue."))
    name: str = queues[index]["name"]
    return name


def queue_of(request: HttpRequest, kwargs: Mapping[str, Any]) -> Queue | None:
    """The queue of an address, or None for one without; a POST is to its own tasks only."""
    if "scheduler_index" in kwargs:
        _require_scheduler(kwargs["scheduler_index"])
    if "queue_index" not in kwargs:
        return None
    queue = get_queue_by_index(kwargs["queue_index"])
    if "key" in kwargs:
        _require_worker(queue, kwargs["key"])
    if "job_id" in kwargs:
        _require_origin(queue, kwargs["job_id"])
    if request.method == "POST":
        chosen = [job_id for name in CHOSEN for job_id in request.POST.getlist(name)]
        _require_no_others(queue, [kwargs.get("job_id"), *chosen])
    return queue


def _require_origin(queue: Queue, job_id: str) -> None:
    """A job of ours is shown on the pages of its own queue only, and they show no other.

    RQ finds it through every queue, and would read it as the jobs of that queue are written.
    """
    origin_of_job: Any = queue.connection.hget(Job.key_for(job_id), "origin")
    origin = queue.name if origin_of_job is None else as_text(origin_of_job)
    if origin != queue.name and (type_of_queue(origin) or type_of_queue(queue.name)):
        raise Http404(_("There is no such job in this queue."))


def _require_scheduler(index: int) -> None:
    try:
        get_scheduler_by_index(index)
    except (IndexError, ImproperlyConfigured):
        # The latter: rq-scheduler is not installed, so there is none.
        raise Http404(_("There is no such scheduler.")) from None


def _require_worker(queue: Queue, key: str) -> None:
    """A worker of our queues is shown on their pages only, and they show no other."""
    is_worker = key.startswith(Worker.redis_worker_namespace_prefix)
    if not (is_worker and queue.connection.exists(key)):
        raise Http404(_("There is no such worker any more."))
    queues: Any = queue.connection.hget(key, "queues")
    names = as_text(queues or b"").split(",")
    if stock.is_ours(names[0]) != stock.is_ours(queue.name):
        raise Http404(_("There is no such worker for this queue."))


def _require_no_others(queue: Queue, job_ids: list[str | None]) -> None:
    """RQ finds every job through every queue: its hashes know no queue."""
    named = [task_id for job_id in job_ids if (task_id := parse_id(job_id))]
    if not named:
        return
    kind = type_of_queue(queue.name)
    if task_queries.tasks_by_id(named).exclude(type=kind or "").exists():
        raise Http404(_("A task is changed on the pages of its own queue only."))
