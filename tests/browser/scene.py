"""A busy morning, for pictures: rows, lines, leases and workers as real parts make them."""

import math
import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import presence, routing, scripts, task_store
from plugspace_queue.broker.connection import client
from plugspace_queue.dashboards import failure_groups, queues, slot_shares
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.limits import policies
from plugspace_queue.limits.quota import month_of
from plugspace_queue.models import (
    Attempt,
    FailureGroup,
    MonthlyUsage,
    QueueMinute,
    QueueSettings,
    Task,
    TierPolicy,
    Workflow,
)
from plugspace_queue.rq.worker import Worker
from tests.factories import arguments, fail_tasks, make_organization, make_task

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
TENANTS = {
    "northwind": "enterprise",
    "bluebird": "professional",
    "ada-labs": "starter",
    "kite": "free",
}
CREWS = {
    "worker-a.7f3": ("architect", "design", "code"),
    "worker-b.91c": ("analyze", "deploy", "export"),
}
LOAD = {"ARCHITECT": 9, "DESIGN": 4, "CODE": 19, "ANALYZE": 2, "EXPORT": 6}


class Scene:
    """What the pictures show; `breathe` keeps its workers alive."""

    def __init__(self, redis: Redis, user: Any) -> None:
        self._redis = redis
        self._user = user
        self._crews: list[Worker] = []
        self.chance = random.Random(7)
        for name, tier in TENANTS.items():
            make_organization(name, tier=tier, name=name.replace("-", " ").title())
        self._workers()
        self._line_up()
        self.waiting = Task.objects.filter(type="CODE", state=State.WAITING).latest("pk")
        self.workflow = self._workflow()
        self.finished, self.broken = self._history()
        self.group = self._failures()
        self._overrides()
        self._minutes()
        self._audit()

    def breathe(self) -> None:
        """A heartbeat of each worker, as it would come once a second."""
        for crew in self._crews:
            crew.heartbeat()
            for queue in CREWS[crew.name]:
                call = presence.heartbeat(queue, worker=crew.name, slots=8)
                routing.ask(call, queue)
        queues.clear_cache()
        failure_groups.clear_cache()
        slot_shares.clear_cache()

    def _workers(self) -> None:
        for name, names in CREWS.items():
            crew = Worker(list(names), name=name, connection=self._redis)
            crew.register_birth()
            crew.set_state("busy")
            self._crews.append(crew)

    def _line_up(self) -> None:
        for kind in TaskType:
            queue_manager.set_queue(kind, {"policy": "strict"})
        queue_manager.set_queue(
            "CODE",
            {
                "concurrency": 8,
                "limiter": {"max": 8, "duration": 30.0},
                "global_concurrency": 12,
            },
        )
        for kind, number in LOAD.items():
            for place in range(number):
                tenant = list(TENANTS)[place % (3 if kind == "DEPLOY" else len(TENANTS))]
                queue_manager.add_task(
                    **arguments(type=kind, organization_id=tenant), limit_requests=False
                )
        for kind, want in (("ARCHITECT", 3), ("CODE", 7), ("EXPORT", 2)):
            self._start(kind, want)
        queue_manager.pause("ANALYZE")

    def _start(self, kind: str, want: int) -> None:
        queue = kind.lower()
        name = next(name for name, names in CREWS.items() if queue in names)
        call = task_store.acquire(queue, worker=name, want=want, lease_ms=3_600_000)
        [grant] = scripts.run(client(queue), [call])
        for lease in grant.leases:
            Task.objects.filter(pk=lease.task_id).update(
                state=State.PROCESSING,
                started_at=timezone.now() - timedelta(seconds=self.chance.randint(2, 40)),
                worker_name=name,
                attempt_count=1,
                fence=lease.fence,
            )

    def _workflow(self) -> Workflow:
        handle = queue_manager.add_workflow(
            "site", "ann", "northwind", {"prompt": "A bakery in Lisbon"}, limit_requests=False
        )
        now = timezone.now()
        steps = list(Task.objects.filter(workflow=handle.workflow_id).order_by("step"))
        for step, seconds in zip(steps[:2], (18, 9), strict=False):
            Task.objects.filter(pk=step.pk).update(
                state=State.COMPLETE,
                started_at=now - timedelta(seconds=seconds + 8),
                completed_at=now - timedelta(seconds=8),
                duration=seconds * 1000,
                open_deps=0,
            )
        Task.objects.filter(pk=steps[2].pk).update(
            state=State.PROCESSING, started_at=now - timedelta(seconds=7), open_deps=0
        )
        return Workflow.objects.get(pk=handle.workflow_id)

    def _history(self) -> tuple[Task, Task]:
        now = timezone.now()
        done = make_task(
            type="CODE",
            state=State.COMPLETE,
            organization=make_organization("northwind"),
            input={
                "options": {"includeTests": True},
                "apiKey": "sk-live-123",
                "source": "https://bob:hunter2@git.example.com/site.git",
            },
            result={"summary": "42 files", "files": ["index.html", "site.css"], "tests": "passed"},
            queued_at=now - timedelta(seconds=95),
            started_at=now - timedelta(seconds=31),
            duration=28_400,
            attempt_count=3,
            retry_count=2,
            tokens_used=18_240,
            cost=Decimal("0.1834"),
            worker_name="worker-a.7f3",
        )
        self._attempts(done, now, ["retry", "lost", "complete"])
        broken = make_task(
            type="DEPLOY",
            state=State.FAILED,
            organization=make_organization("kite", tier="free"),
            project_id=EVIL,
            input={"note": EVIL, "password": "open sesame"},
            error={"code": "TIMEOUT", "message": f"The host did not answer. {EVIL}", "stack": "…"},
            queued_at=now - timedelta(seconds=95),
            attempt_count=1,
        )
        self._attempts(broken, now, ["failed"])
        return done, broken

    def _failures(self) -> FailureGroup:
        """A cause that began 20 minutes ago, and two that come now and then."""
        now = timezone.now()
        stack = 'Traceback (most recent call last):\n  File "build.py", line 12\nKeyError\n'
        causes = (
            ("DEPLOY", "TIMEOUT", "", f"The host did not answer. {EVIL}", range(4, 58, 13), 1),
            ("ANALYZE", "EXTERNAL_SERVICE_ERROR", "SSLError", "handshake", range(2, 50, 9), 1),
            ("CODE", "INTERNAL_ERROR", "KeyError", "'palette'", range(1, 20), 2),
        )
        for task_type, code, name, message, minutes, count in causes:
            for back in minutes:
                tenant = list(TENANTS)[back % len(TENANTS)]
                made = fail_tasks(
                    count,
                    type=task_type,
                    code=code,
                    class_name=name,
                    message=message,
                    stack=stack,
                    organization=tenant,
                    tier=TENANTS[tenant],
                    at=now - timedelta(minutes=back),
                )
        return made.group

    def _overrides(self) -> None:
        """Somebody is near a quota, something holds for a while, something is over."""
        month = month_of(timezone.now())
        for tenant, task_type, used in (("kite", "CODE", 9), ("ada-labs", "EXPORT", 40)):
            tier = TierPolicy.objects.get(pk=TENANTS[tenant])
            TierPolicy.objects.filter(pk=tier.pk).update(
                quotas={**tier.quotas, task_type: round(used * 1.1)}
            )
            MonthlyUsage.objects.update_or_create(
                organization_id=tenant, type=task_type, month=month, defaults={"used": used}
            )
        policies.clear_cache()
        until = timezone.now() + timedelta(hours=2)
        queue_manager.grant("kite", "CODE", 3, until=until, reason="a demo", author="ann")
        ended = queue_manager.grant("kite", "DESIGN", 5, reason="a launch", author="bob")
        queue_manager.end_override(ended.pk)
        queue_manager.override_queue(
            "CODE", organization_concurrency=6, until=until, reason="a launch", author="ann"
        )

    def _attempts(self, task: Task, now: Any, outcomes: list[str]) -> None:
        for number, outcome in enumerate(outcomes, 1):
            start = now - timedelta(seconds=90 - 28 * (number - 1))
            error = {"code": "PROVIDER", "message": "503 of the model", "stack": "File x, line 3"}
            Attempt.objects.create(
                task=task,
                number=number,
                fence=number,
                worker_name=f"worker-{'ab'[number % 2]}.7f3",
                started_at=start,
                ended_at=start + timedelta(seconds=4 + 11 * (number - 1)),
                outcome=outcome,
                error=None if outcome == "complete" else error,
                tokens_used=6_000 * number,
                cost=Decimal("0.06") * number,
                log=[{"at": start.isoformat(), "level": "info", "message": "reading the plan"}],
            )

    def _minutes(self) -> None:
        end = timezone.now().replace(second=0, microsecond=0)
        rates = {"ARCHITECT": 22, "DESIGN": 18, "CODE": 40, "ANALYZE": 9, "DEPLOY": 4, "EXPORT": 14}
        rows = []
        for kind, rate in rates.items():
            done, failed = 10_000, 40
            for back in range(60, -1, -1):
                wave = 1 + 0.5 * math.sin((60 - back) / 9 + rate)
                done += round(rate * wave * self.chance.uniform(0.8, 1.2))
                failed += self.chance.random() < 0.05
                wait = round(900 * wave * self.chance.uniform(0.7, 1.6) + 40 * rate)
                rows.append(
                    QueueMinute(
                        type=kind,
                        minute=end - timedelta(minutes=back),
                        completed=done,
                        failed=failed,
                        wait_median=wait,
                        wait_most=wait * 3,
                    )
                )
            QueueSettings.objects.filter(pk=kind).update(completed=done, failed=failed)
        QueueMinute.objects.bulk_create(rows)

    def _audit(self) -> None:
        kind = ContentType.objects.get_for_model(QueueSettings)
        for queue, said in (
            ("CODE", "Limits: starts 50 → 8, window default → 30: the model's quota is halved"),
            ("ANALYZE", "Paused: the crawler is blocked by a customer's firewall"),
            ("EXPORT", f"Paused: {EVIL}"),
        ):
            LogEntry.objects.create(
                user=self._user,
                content_type=kind,
                object_id=queue,
                object_repr=queue,
                action_flag=2,
                change_message=said,
            )
