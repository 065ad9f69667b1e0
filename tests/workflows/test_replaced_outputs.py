"""A host's own output of a type enters the steps that take the output of that type."""

from typing import Any

import pytest
from pydantic import BaseModel

from plugspace_queue import errors, queue_manager
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.models import Task
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.inputs import DesignInput
from plugspace_queue.testing import processors, run_pending
from tests.workflows.examples import ARCHITECTURE, DESIGN

pytestmark = pytest.mark.django_db(transaction=True)


class Blueprint(BaseModel):
    rooms: int


def seen(context: Any) -> Any:
    plan = context.input.architecture
    return {"plan": type(plan).__name__, "rooms": getattr(plan, "rooms", None)}


def create(**doers: Any) -> dict[str, Task]:
    queue_manager.set_organization("acme", tier="enterprise")
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A house"})
    for name, (function, output) in doers.items():
        with processors({name: function}, output=output):
            run_pending(name)
    return {task.type: task for task in Task.objects.filter(workflow=handle.workflow_id)}


def test_a_create_goes_through_with_an_architect_declared_anew(declare: Any):
    declare("ARCHITECT", output=Blueprint, replace=True)

    steps = create(
        ARCHITECT=(lambda context: Blueprint(rooms=3), None),
        DESIGN=(lambda context: DESIGN | {"summary": str(seen(context))}, None),
        CODE=(seen, dict),
    )

    assert {step.state for step in steps.values()} == {State.COMPLETE}
    assert steps["CODE"].result == {"plan": "Blueprint", "rooms": 3}
    assert "Blueprint" in steps["DESIGN"].result["summary"]
    assert queue_manager.get_workflow(steps["CODE"].workflow_id).status == Status.COMPLETE


def test_the_front_door_takes_what_the_replaced_type_makes(declare: Any):
    declare("ARCHITECT", output=Blueprint, replace=True)
    queue_manager.set_organization("acme", tier="enterprise")
    given = {"architecture": {"rooms": 2}}

    handle = queue_manager.add_workflow("site", "ann", "acme", given, kind="code-only")

    (code,) = Task.objects.filter(workflow=handle.workflow_id)
    assert code.input == given
    with pytest.raises(errors.ValidationRefused):
        queue_manager.add_workflow(
            "site", "ann", "acme", {"architecture": ARCHITECTURE}, kind="code-only"
        )


def test_models_are_those_of_the_seed_again_when_the_declaration_is_gone(declare: Any):
    declare("ARCHITECT", output=Blueprint, replace=True)
    changed = TaskType.DESIGN.input.type

    assert changed.model_fields["architecture"].annotation == Blueprint | None


def test_a_replacement_does_not_outlast_its_test():
    field = TaskType.DESIGN.input.type.model_fields["architecture"]

    assert field.annotation == ArchitectureOutput | None


def test_a_replacement_of_a_replacement_is_what_counts(declare: Any):
    declare("ARCHITECT", output=dict, replace=True)
    declare("ARCHITECT", output=Blueprint, replace=True)

    field = TaskType.DESIGN.input.type.model_fields["architecture"]

    assert field.annotation == Blueprint | None


def test_a_type_declared_after_the_replacement_gets_it_too(declare: Any):
    declare("ARCHITECT", output=Blueprint, replace=True)
    paint = declare("PAINT", input=DesignInput)

    field = paint.input.type.model_fields["architecture"]

    assert field.annotation == Blueprint | None


def test_a_processor_with_an_output_of_its_own_does_not_break_a_create():
    queue_manager.set_organization("acme", tier="enterprise")
    handle = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A house"})

    with (
        processors({"ARCHITECT": lambda context: {"rooms": 4}}, output=Blueprint),
        processors({"DESIGN": lambda context: DESIGN}, output=None),
        processors({"CODE": seen}, output=dict),
    ):
        run_pending()

    steps = {task.type: task for task in Task.objects.filter(workflow=handle.workflow_id)}
    assert steps["DESIGN"].state == State.COMPLETE
    assert steps["CODE"].result == {"plan": "Blueprint", "rooms": 4}
