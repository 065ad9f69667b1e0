"""The six kinds of workflows, as chains of steps."""

from plugspace_queue.domain.enums import Kind
from plugspace_queue.domain.task_types import TaskType

STEPS: dict[Kind, tuple[str, ...]] = {
    Kind.CREATE: ("ARCHITECT", "DESIGN", "CODE"),
    Kind.CLONE: ("ANALYZE", "ARCHITECT", "DESIGN", "CODE"),
    Kind.REFINE: ("ARCHITECT", "DESIGN", "CODE"),
    Kind.DESIGN_ONLY: ("ARCHITECT", "DESIGN"),
    Kind.CODE_ONLY: ("CODE",),
    Kind.ANALYZE_ONLY: ("ANALYZE",),
}

#: The step that a kind consists of; skipping it would leave no step.
PURPOSES: dict[Kind, str] = {Kind.DESIGN_ONLY: "DESIGN"}


def steps_of(
    kind: Kind, *, skip_design: bool = False, skip_code: bool = False
) -> tuple[TaskType, ...]:
    """The steps that remain, in order; empty when everything is skipped.

    >>> [step.value for step in steps_of(Kind.CLONE, skip_design=True)]
    ['ANALYZE', 'ARCHITECT', 'CODE']
    >>> steps_of(Kind.CODE_ONLY, skip_code=True)
    ()
    """
    skipped = {"DESIGN": skip_design, "CODE": skip_code}
    return tuple(TaskType(step) for step in STEPS[kind] if not skipped.get(step, False))
