"""Addresses of the API's lists and of every page of the admin, with what each may cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from plugspace_queue.domain.ids import first_id
from plugspace_queue.models import (
    ApiKey,
    Attempt,
    IdempotencyKey,
    Membership,
    MonthlyUsage,
    Task,
    UsageEntry,
    Workflow,
)

RECORDS = (Workflow, Attempt, UsageEntry, MonthlyUsage, IdempotencyKey, Membership, ApiKey)

API, PAGE = 50, 200
"""Milliseconds that an answer may take, in 95 of 100 cases."""

ADMIN = "/admin/plugspace_queue/"
BIG, SMALL = "org-0", "org-7"

TASK_FILTERS = (
    *(f"state__exact={state}" for state in ("waiting", "processing", "failed", "expired")),
    "state__exact=complete",
    "type__exact=DEPLOY",
    "priority=0",
    "state__exact=failed&type__exact=CODE",
    "state__exact=expired&priority=3",
    "state__exact=complete&type__exact=CODE&priority=1",
    f"q={BIG}",
    "q=project-77",
    "q=nothing-like-it",
    f"q=user:user-7+org:{BIG}",
    f"q=user:nobody+org:{BIG}",
    f"q={BIG}&state__exact=expired",
)
API_FILTERS = (
    "",
    *(f"status={status}" for status in ("pending", "processing", "complete", "failed", "retrying")),
    *(f"state={state}" for state in ("waiting", "scheduled", "blocked", "expired", "cancelled")),
    "type=DEPLOY",
    "status=failed&type=CODE",
    "status=processing&type=CODE",
    "state=expired&type=EXPORT",
    "projectId=project-77",
    "projectId=nothing-like-it",
    "projectId=project-77&status=failed",
    "offset=10000",
    "order=oldest",
    "status=pending&order=oldest",
    "limit=100",
)
LISTS = {
    "workflow": ("", "kind__exact=clone", "kind__exact=refine", f"q={BIG}", "q=project-77"),
    "attempt": ("", "outcome__exact=lost", "outcome__exact=handed_back", "outcome__exact=complete"),
    "usageentry": (
        "",
        "reason__exact=refund",
        "reason__exact=settle",
        "type__exact=CODE",
        f"q={BIG}",
        "q=nothing",
    ),
    "monthlyusage": ("", "type__exact=CODE", f"q={BIG}", "q=2020-01"),
    "idempotencykey": ("", f"q=order-1+org:{BIG}"),
    "organization": ("", "q=tion 77", "tier__slug__exact=free", "is_suspended__exact=1"),
    "membership": ("", f"q={BIG}"),
    "apikey": ("", f"q={BIG}"),
    "queuesettings": ("",),
    "tierpolicy": ("",),
    "audit": ("", "who=operator", "who=nobody", "model=task", "model=tierpolicy", "object_id=x"),
    "dashboard": ("",),
    "worker": ("",),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """An address, who asks, and the most it may take."""

    address: str
    asks: str
    """`staff`, or the id of an organization whose key is used."""
    limit: int


def places() -> list[Place]:
    """Every address that is timed, in the filled database."""
    api = (Place(address=a, asks=who, limit=API) for who, a in _api())
    admin = (Place(address=a, asks="staff", limit=PAGE) for a in _admin())
    return [*api, *admin]


def _api() -> Iterator[tuple[str, str]]:
    for who in ("staff", BIG, SMALL):
        rows = Task.objects.filter(**({} if who == "staff" else {"organization_id": who}))
        for query in (*API_FILTERS, *_far()):
            yield who, f"/api/v1/tasks/?{query}"
        for query in ("", "kind=clone", "kind=analyze-only", "kind=refine", "projectId=project-77"):
            yield who, f"/api/v1/workflows/?{query}"
        task, workflow = rows.latest("pk"), rows.filter(workflow__isnull=False).latest("pk")
        yield who, f"/api/v1/tasks/?workflowId={workflow.workflow_id}"
        yield who, f"/api/v1/tasks/{task.pk}/"
        yield who, f"/api/v1/tasks/{task.pk}/explain/"
        yield who, f"/api/v1/workflows/{workflow.workflow_id}/"
        yield who, f"/api/v1/organizations/{BIG if who == 'staff' else who}/usage/"
    yield "staff", "/api/v1/queues/"


def _far() -> Iterator[str]:
    """Pages far back, and the middle of the time."""
    deep = _deep()
    middle = timezone.now() - timedelta(days=15)
    yield f"cursor=before.{deep.pk}"
    yield f"cursor=before.{deep.pk}&status=failed"
    yield f"createdBefore={middle:%Y-%m-%dT%H:%M:%SZ}"
    yield f"createdAfter={middle:%Y-%m-%dT%H:%M:%SZ}&order=oldest&state=failed"


def _admin() -> Iterator[str]:
    yield "/admin/"
    for query in ("", f"before={_deep().pk}", *TASK_FILTERS):
        yield f"{ADMIN}task/?{query}"
    for query in ("state__exact=failed", "state__exact=failed&type__exact=CODE", f"q={BIG}"):
        yield f"{ADMIN}task/all/retry/?{query}"
    yield f"{ADMIN}task/all/cancel/?"
    for name, queries in LISTS.items():
        for query in queries:
            yield f"{ADMIN}{name}/?{query}"
    for part in ("dashboard/live/", "dashboard/series/", "dashboard/code/", "worker/live/"):
        yield f"{ADMIN}{part}"
    yield from _records()
    yield from _rq()


def _records() -> Iterator[str]:
    for state in ("waiting", "blocked", "complete", "failed"):
        task = Task.objects.filter(state=state).latest("pk")
        yield f"{ADMIN}task/{task.pk}/change/"
        yield f"{ADMIN}task/{task.pk}/live/"
        yield f"{ADMIN}task/{task.pk}/history/"
    workflow = Workflow.objects.latest("pk")
    yield f"{ADMIN}workflow/{workflow.pk}/live/"
    yield f"{ADMIN}organization/{BIG}/change/"
    yield f"{ADMIN}tierpolicy/free/change/"
    yield f"{ADMIN}queuesettings/CODE/change/"
    for model in RECORDS:
        row = model._default_manager.latest("pk")
        yield f"{ADMIN}{model._meta.model_name}/{row.pk}/change/"


def _rq() -> Iterator[str]:
    """RQ's own pages of one queue."""
    index = next(n for n, name in enumerate(settings.RQ_QUEUES) if name == "code")
    yield reverse("admin:django_rq_home")
    for name in ("jobs", "failed_jobs", "scheduled_jobs", "started_jobs", "workers"):
        yield reverse(f"admin:django_rq_{name}", args=[index])


def _deep() -> Task:
    """A task far back in the lists."""
    return Task.objects.filter(pk__gte=first_id(timezone.now() - timedelta(days=28))).earliest("pk")
