"""What becomes of a task in a worker that works off what waits."""

import json
from typing import Any

from plugspace_queue import keys
from plugspace_queue.models import Organization, Task
from plugspace_queue.submitting import add_task


def submit(task_type: str = "ARCHITECT", **arguments: Any) -> Task:
    given: dict[str, Any] = {
        "type": task_type,
        "project_id": "p1",
        "user_id": "u1",
        "organization_id": "acme",
        "input": {"prompt": "a site"},
        "priority": None,
        "context": None,
        "max_retries": None,
        "ttl": None,
        "run_at": None,
        "depends_on": (),
        "idempotency_key": None,
    }
    return add_task(given | arguments, limit_requests=False).subject


def test_a_task_runs_to_its_end_and_every_place_says_so(acme: Organization, processors, work, redis):
    processors("ARCHITECT", lambda context: {"said": context.input.prompt})
    task = submit()

    assert redis.llen(keys.wait("architect")) == 1
    assert work("architect") == 1

    task.refresh_from_db()
    assert (task.state, task.result) == ("complete", {"said": "a site"})
    assert task.attempts.get().outcome == "complete"
    assert redis.llen(keys.wait("architect")) == redis.llen(keys.active("architect")) == 0
    assert json.loads(redis.get(keys.task(str(task.pk))))["status"] == "complete"
    assert json.loads(redis.get(keys.result(str(task.pk), "ARCHITECT"))) == {"said": "a site"}
