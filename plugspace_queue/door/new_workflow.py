"""A workflow that is asked for, every argument checked."""

from dataclasses import dataclass
from typing import Any

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.enums import Kind, State, TaskType
from plugspace_queue.domain.kinds import PURPOSES, steps_of
from plugspace_queue.door import new_task, validating
from plugspace_queue.door.admission import Admitted
from plugspace_queue.door.lineage import CallerContext
from plugspace_queue.door.workflow_input import WorkflowInput, step_inputs
from plugspace_queue.errors import InvalidState, NotFound
from plugspace_queue.models import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class NewWorkflow:
    """The checked arguments of add_workflow."""

    kind: Kind
    organization_id: str
    project_id: str
    user_id: str
    input: dict[str, Any]
    steps: tuple[TaskType, ...]
    inputs: list[dict[str, Any]]
    context: CallerContext
    priority: int | None
    ttl: int | None
    idempotency_key: str | None
    parent: Task | None

    @property
    def seconds_to_live(self) -> int:
        return get_settings().default_ttl if self.ttl is None else self.ttl

    def fingerprint(self) -> str:
        """Equal for equal arguments, whatever the order of keys."""
        return new_task.fingerprint_of(
            "workflow",
            kind=self.kind.value,
            project=self.project_id,
            user=self.user_id,
            input=self.input,
            context=self.context.as_data(),
            priority=self.priority,
            ttl=self.ttl,
        )


def checked(
    admitted: Admitted,
    *,
    project_id: object,
    user_id: object,
    input: object,
    kind: object,
    priority: object,
    context: object,
    ttl: object,
    idempotency_key: object,
    organization_id: object,
) -> NewWorkflow:
    """The new workflow asked for; raises ValidationRefused, NotFound, InvalidState."""
    which = validating.word("kind", kind, Kind)
    callers = CallerContext.checked(context)
    given = validating.model_input(WorkflowInput, input, beside=callers.size)
    parent = _parent(which, callers, admitted)
    given = _inherited(which, given, parent)
    steps = _steps(which, given.get("options", {}))
    return NewWorkflow(
        kind=which,
        organization_id=admitted.organization_id,
        project_id=validating.name("project_id", project_id),
        user_id=validating.name("user_id", user_id),
        input=given,
        steps=steps,
        inputs=step_inputs(steps, given),
        context=callers,
        priority=new_task.checked_priority(priority),
        ttl=new_task.checked_ttl(ttl),
        idempotency_key=new_task.checked_key(idempotency_key),
        parent=parent,
    )


def _steps(kind: Kind, options: dict[str, Any]) -> tuple[TaskType, ...]:
    steps = steps_of(
        kind,
        skip_design=options.get("skipDesign", False),
        skip_code=options.get("skipCode", False),
    )
    if not steps:
        validating.refuse("input.options", f"leave no step of {kind}")
    purpose = PURPOSES.get(kind)
    if purpose is not None and purpose not in steps:
        skip = f"skip{purpose.capitalize()}"
        validating.refuse(f"input.options.{skip}", f"leaves out the step that {kind} is for")
    return steps


def _parent(kind: Kind, context: CallerContext, admitted: Admitted) -> Task | None:
    """The task that this workflow goes on from; a refinement needs a complete one."""
    task_id = context.parent_task_id
    if task_id is None:
        if kind is Kind.REFINE:
            validating.refuse("context.parentTaskId", "is needed to refine")
        return None
    rows = Task.objects.of_organization(admitted.organization_id).select_related("workflow")
    found = rows.filter(pk=task_id).first()
    if found is None:
        raise NotFound(f"No task {task_id} in this organization.", task_id=str(task_id))
    if kind is Kind.REFINE and found.state != State.COMPLETE:
        raise InvalidState(
            f"Task {task_id} is {found.state}; only a complete one can be refined.",
            task_id=str(task_id),
            state=str(found.state),
        )
    return found


def _inherited(kind: Kind, given: dict[str, Any], parent: Task | None) -> dict[str, Any]:
    """A refinement says only what changes; prompt and context come from what it refines."""
    if kind is not Kind.REFINE or parent is None:
        return given
    earlier = parent.workflow.input if parent.workflow else parent.input
    return {field: earlier[field] for field in ("prompt", "context") if field in earlier} | given
