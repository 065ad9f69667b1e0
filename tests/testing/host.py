"""What a host project's tests would have: fakes for its processors, and short submits."""

from typing import Any

from plugspace_queue import queue_manager
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task
from plugspace_queue.processing.context import Context
from tests.workflows.examples import ARCHITECTURE, DESIGN

INPUTS: dict[str, dict[str, Any]] = {
    "ARCHITECT": {"prompt": "a site"},
    "ANALYZE": {"url": "https://example.com/"},
}


def plan(context: Context) -> Any:
    return ARCHITECTURE


def paint(context: Context) -> Any:
    return DESIGN


def tell(context: Context) -> Any:
    return {"results": sorted(context.results), "attempt": context.attempt}


FAKES = dict.fromkeys(TaskType, tell) | {"ARCHITECT": plan, "DESIGN": paint}


def submit(task_type: str = "ARCHITECT", **arguments: Any) -> Task:
    """One task of acme, which is there from then on."""
    queue_manager.set_organization("acme", tier="enterprise")
    return queue_manager.add_task(
        task_type,
        **{
            "project_id": "site",
            "user_id": "ann",
            "organization_id": "acme",
            "input": INPUTS.get(task_type, {}),
            **arguments,
        },
    )


def start_workflow(**changes: Any) -> list[Task]:
    """The steps of a `create` of acme."""
    queue_manager.set_organization("acme", tier="enterprise")
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "a site"}, **changes)
    return steps_of(handle.workflow_id)


def steps_of(workflow_id: object) -> list[Task]:
    return list(Task.objects.filter(workflow=workflow_id).order_by("step"))
