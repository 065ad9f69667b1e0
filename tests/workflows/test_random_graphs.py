"""Random graphs with random failures, cancels, expiries and skips end as their declaration says."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugspace_queue import TaskType, errors, queue_manager, workflow_kind
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State, Status
from plugspace_queue.maintenance import expiry
from plugspace_queue.models import MonthlyUsage, Task, UsageEntry
from plugspace_queue.testing import declarations, processors
from plugspace_queue.testing.running import run_these

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MOST = 7
ENDS = ("ok", "fail", "cancel", "expire")


@dataclass
class Plan:
    """One step: what it waits for, its options, and how it will end."""

    parents: list[int]
    may_fail: bool
    is_skipped: bool
    end: str


@dataclass
class Run:
    """What happened: which steps ran, in order, and what each was given."""

    order: list[str] = field(default_factory=list)
    given: dict[str, list[str]] = field(default_factory=dict)


@st.composite
def plans(draw: Any) -> list[Plan]:
    count = draw(st.integers(1, MOST))
    return [
        Plan(
            parents=draw(st.lists(st.integers(0, at - 1), unique=True, max_size=3)) if at else [],
            may_fail=draw(st.booleans()),
            is_skipped=draw(st.sampled_from([False, False, False, True])),
            end=draw(st.sampled_from(ENDS)),
        )
        for at in range(count)
    ]


def relinked(planned: list[Plan]) -> dict[str, list[str]]:
    """Name → names of its parents, without the steps that are left out: told once more."""
    near: dict[int, list[int]] = {}
    for at, plan in enumerate(planned):
        found = [p for parent in plan.parents for p in near.get(parent, [parent])]
        if plan.is_skipped:
            near[at] = list(dict.fromkeys(found))
        else:
            plan.parents = list(dict.fromkeys(found))
    kept = [at for at, plan in enumerate(planned) if not plan.is_skipped]
    return {f"s{at}": [f"s{parent}" for parent in planned[at].parents] for at in kept}


def expected(planned: list[Plan], parents: dict[str, list[str]]) -> dict[str, State]:
    """How each step ends, by the rules alone."""
    states: dict[str, State] = {}
    ends = {"ok": State.COMPLETE, "fail": State.FAILED, "cancel": State.CANCELLED}
    for name, before in parents.items():
        is_free = all(_passed(planned, parent, states[parent]) for parent in before)
        end = planned[int(name[1:])].end
        states[name] = ends.get(end, State.EXPIRED) if is_free else State.CANCELLED
    return states


def _passed(planned: list[Plan], name: str, state: State) -> bool:
    may_fail = planned[int(name[1:])].may_fail
    return state == State.COMPLETE or (may_fail and state in lifecycle.MISSED)


def ancestors_of(name: str, parents: dict[str, list[str]]) -> set[str]:
    return set(parents[name]).union(*(ancestors_of(p, parents) for p in parents[name]))


@pytest.fixture
def step_type(declare: Any) -> Iterator[TaskType]:
    yield declare("STEP", input=dict, output=dict)


def declared(step_type: TaskType, planned: list[Plan]) -> Any:
    steps = [
        step_type.step(
            name=f"s{at}",
            after=[f"s{parent}" for parent in plan.parents],
            skip=f"skip{at}",
            on_failure="continue" if plan.may_fail else "cancel",
        )
        for at, plan in enumerate(planned)
    ]
    return workflow_kind("random", steps=steps)


@settings(
    max_examples=40,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(planned=plans(), choices=st.randoms(use_true_random=False), again=st.booleans())
def test_every_graph_ends_as_declared(
    step_type: TaskType, planned: list[Plan], choices: Any, again: bool
):
    organization = f"org-{uuid.uuid4().hex[:12]}"
    queue_manager.set_organization(organization, tier="enterprise")
    with declarations():
        kind = declared(step_type, planned)
        parents = relinked(planned)
        options = {f"skip{at}": plan.is_skipped for at, plan in enumerate(planned)}
        submit = {"organization": organization, "project": "p", "user": "u"}
        if not parents:
            with pytest.raises(errors.ValidationRefused):
                kind.submit({"options": options}, **submit)
            return
        handle = kind.submit({"options": options}, **submit)

    run = Run()
    with processors({"STEP": lambda context: _done(context, planned, run)}, output=dict):
        while ready := _startable(handle.workflow_id):
            _end(choices.choice(ready), planned)

    states = {t.step_name: State(t.state) for t in _steps(handle.workflow_id)}
    assert states == expected(planned, parents)
    _check_runs(run, parents, planned, states)
    _check_usage(organization, len(run.order))
    _check_status(handle, planned, states)
    if again and queue_manager.get_workflow(handle.workflow_id).status == Status.FAILED:
        _check_retry(handle, planned)


def _done(context: Any, planned: list[Plan], run: Run) -> Any:
    name = Task.objects.get(pk=context.task_id).step_name
    run.order.append(name)
    run.given[name] = sorted(context.results)
    if planned[int(name[1:])].end == "fail":
        raise errors.TaskError("as planned")
    return {"of": name}


def _steps(workflow_id: uuid.UUID) -> list[Task]:
    return list(Task.objects.filter(workflow=workflow_id).order_by("step"))


def _startable(workflow_id: uuid.UUID) -> list[Task]:
    return [task for task in _steps(workflow_id) if task.state in lifecycle.STARTABLE]


def _end(task: Task, planned: list[Plan]) -> None:
    end = planned[int(task.step_name[1:])].end
    if end == "cancel":
        queue_manager.cancel(task.pk)
    elif end == "expire":
        now = timezone.now()
        Task.objects.filter(pk=task.pk).update(deadline=now - timedelta(seconds=1))
        assert expiry.expire_due(now) == 1
    else:
        assert run_these([task.pk])


def _check_runs(
    run: Run, parents: dict[str, list[str]], planned: list[Plan], states: dict[str, State]
) -> None:
    assert len(set(run.order)) == len(run.order)
    ran = {name for name, state in states.items() if state in (State.COMPLETE, State.FAILED)}
    assert set(run.order) == ran
    for name in run.order:
        before = [one for one in parents[name] if one in ran]
        assert all(run.order.index(one) < run.order.index(name) for one in before)
        complete = {one for one in ancestors_of(name, parents) if states[one] == State.COMPLETE}
        assert run.given[name] == sorted(complete)


def _check_usage(organization: str, count: int) -> None:
    """What started is charged, once; all else is refunded."""
    (counter,) = MonthlyUsage.objects.filter(organization=organization)
    assert counter.used == count
    entries = UsageEntry.objects.filter(organization=organization)
    assert sum(entry.units for entry in entries) == count


def _check_status(handle: Any, planned: list[Plan], states: dict[str, State]) -> None:
    passed = [_passed(planned, name, state) for name, state in states.items()]
    is_complete = all(passed) and State.COMPLETE in states.values()
    status = queue_manager.get_workflow(handle.workflow_id).status
    assert status == (Status.COMPLETE if is_complete else Status.FAILED)


def _check_retry(handle: Any, planned: list[Plan]) -> None:
    """With nothing in the way, the workflow is retried to its end; what is complete stays."""
    ends = [plan.end for plan in planned]
    for plan in planned:
        plan.end = "ok"
    complete = {t.pk: t.attempt_count for t in _steps(handle.workflow_id) if t.state == "complete"}
    try:
        queue_manager.retry_workflow(handle.workflow_id)
        with processors({"STEP": lambda context: _done(context, planned, Run())}, output=dict):
            while ready := _startable(handle.workflow_id):
                _end(ready[0], planned)
    finally:
        for plan, end in zip(planned, ends, strict=True):
            plan.end = end
    workflow = queue_manager.get_workflow(handle.workflow_id)
    assert workflow.status == Status.COMPLETE
    assert all(workflow.tasks.get(pk=pk).attempt_count == count for pk, count in complete.items())
