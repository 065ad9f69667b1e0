"""The six kinds of workflows, as chains of steps."""

from plugspace_queue.domain.enums import Kind, TaskType

T = TaskType

STEPS: dict[Kind, tuple[TaskType, ...]] = {
    Kind.CREATE: (T.ARCHITECT, T.DESIGN, T.CODE),
    Kind.CLONE: (T.ANALYZE, T.ARCHITECT, T.DESIGN, T.CODE),
    Kind.REFINE: (T.ARCHITECT, T.DESIGN, T.CODE),
    Kind.DESIGN_ONLY: (T.ARCHITECT, T.DESIGN),
    Kind.CODE_ONLY: (T.CODE,),
    Kind.ANALYZE_ONLY: (T.ANALYZE,),
}

#: The step that a kind consists of; skipping it would leave no step.
PURPOSES: dict[Kind, TaskType] = {Kind.DESIGN_ONLY: T.DESIGN}


def steps_of(
    kind: Kind, *, skip_design: bool = False, skip_code: bool = False
) -> tuple[TaskType, ...]:
    """The steps that remain, in order; empty when everything is skipped.

    >>> [step.value for step in steps_of(Kind.CLONE, skip_design=True)]
    ['ANALYZE', 'ARCHITECT', 'CODE']
    >>> steps_of(Kind.CODE_ONLY, skip_code=True)
    ()
    """
    skipped = {T.DESIGN: skip_design, T.CODE: skip_code}
    return tuple(step for step in STEPS[kind] if not skipped.get(step, False))
