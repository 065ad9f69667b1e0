"""A small site with a task in every place, and the command as an operator types it."""

import io
import json
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.utils import timezone
from redis import Redis

from plugspace_queue import queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.maintenance.queue_config import repair
from plugspace_queue.models import Dependency, MonthlyUsage, QueueSettings, Task, Workflow
from tests.broker.tools import Line
from tests.factories import arguments

LONG_MS = 600_000


class Scene:
    """What was submitted, and the line of CODE that the tests damage."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.line = Line(redis)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing but what is made here."""
        self.redis.flushall()
        Dependency.objects.all().delete()
        Task.objects.all().delete()
        Workflow.objects.all().delete()
        MonthlyUsage.objects.all().delete()
        QueueSettings.objects.update(completed=0, failed=0)
        repair(timezone.now())
        queue_manager.set_organization("acme", tier="enterprise")
        queue_manager.set_organization("bolt", tier="professional")
        self.running = self._start(self.add())
        self.waiting = [self.add(), self.add(), self.add(organization_id="bolt")]
        later = timezone.now() + timedelta(hours=1)
        self.delayed = self.add(run_at=later)
        self.workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A shop"})
        steps = Task.objects.filter(workflow=self.workflow.workflow_id).order_by("step")
        self.first_step, self.blocked = steps[0], steps[2]

    def add(self, **changes: Any) -> Task:
        return queue_manager.add_task(**arguments(type="CODE", **changes))

    def _start(self, task: Task) -> Task:
        (lease,) = self.line.acquire(lease_ms=LONG_MS).leases
        assert lease.task_id == str(task.pk)
        now = timezone.now()
        rows = Task.objects.filter(pk=task.pk)
        rows.update(fence=lease.fence, started_at=now, attempt_count=1, deadline=None)
        assert rows.move(task.pk, State.WAITING, State.PROCESSING)
        return Task.objects.get(pk=task.pk)

    def renew(self) -> None:
        """As the worker of the running task does each second, if it still has a lease."""
        held = {str(self.running.pk): self.line.now_ms() + LONG_MS}
        self.redis.zadd(keys.lease("code"), held, xx=True)

    def id(self, number: int) -> str:
        """Of one of the waiting tasks; 0 and 1 are acme's, 2 is bolt's."""
        return str(self.waiting[number].pk)

    def lane(self, number: int) -> str:
        task = self.waiting[number]
        return keys.lane("code", task.priority, task.organization_id)


def reconcile(*words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the answer of queue_reconcile."""
    out = io.StringIO()
    code = 0
    try:
        call_command("queue_reconcile", *words, "--json", stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue())


def kinds_found(*words: str) -> set[str]:
    code, told = reconcile("--check", *words)
    assert code == (1 if told["findings"] else 0)
    return set(told["kinds"])
