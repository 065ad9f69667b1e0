"""What an address of django-rq's pages names; Http404 for what is not there or not within reach.

The stock views trust their addresses, and a wrong one is an error of the server to them.
"""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest
from django_rq.queues import get_queue_by_index, get_scheduler_by_index
from rq import Queue, Worker

from plugspace_queue.ids import parse_id
from plugspace_queue.models import Task
from plugspace_queue.rules.catalog import type_of_queue


def queue_of(request: HttpRequest, kwargs: Mapping[str, Any]) -> Queue | None:
    """The queue of an address, or None for one without; a POST is to its own tasks only."""
    if "scheduler_index" in kwargs:
        _require_scheduler(kwargs["scheduler_index"])
    if "queue_index" not in kwargs:
        return None
    try:
        queue = get_queue_by_index(kwargs["queue_index"])
    except IndexError:
        raise Http404("There is no such queue.") from None
    if "key" in kwargs:
        _require_worker(queue, kwargs["key"])
    if request.method == "POST":
        _require_no_others(queue, [kwargs.get("job_id"), *request.POST.getlist("job_ids")])
    return queue


def _require_scheduler(index: int) -> None:
    try:
        get_scheduler_by_index(index)
    except (IndexError, ImproperlyConfigured):
        # The latter: rq-scheduler is not installed, so there is none.
        raise Http404("There is no such scheduler.") from None


def _require_worker(queue: Queue, key: str) -> None:
    is_worker = key.startswith(Worker.redis_worker_namespace_prefix)
    if not (is_worker and queue.connection.exists(key)):
        raise Http404("There is no such worker any more.")


def _require_no_others(queue: Queue, job_ids: list[str | None]) -> None:
    """RQ finds every job through every queue: its hashes know no queue."""
    named = [task_id for job_id in job_ids if (task_id := parse_id(job_id))]
    if not named:
        return
    kind = type_of_queue(queue.name)
    if Task.objects.filter(pk__in=named).exclude(type=kind or "").exists():
        raise Http404("A task is changed on the pages of its own queue only.")
