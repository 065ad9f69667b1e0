"""The table of transitions holds in the real table: whatever order writers come in."""

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.lifecycle import TRANSITIONS
from plugspace_queue.errors import InvalidTransition
from plugspace_queue.models import Task
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

states = st.sampled_from(State)


def fields_for(target: State) -> dict[str, object]:
    return {
        "completed_at": timezone.now() if target in lifecycle.FINAL else None,
        "open_deps": 1 if target == State.BLOCKED else 0,
    }


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(begin=states, steps=st.lists(st.tuples(states, states), max_size=12))
def test_a_row_moves_only_as_the_table_allows(db, begin, steps):
    task = make_task(state=begin, organization=make_organization())
    now_at = begin

    for source, target in steps:
        if target not in TRANSITIONS[source]:
            with pytest.raises(InvalidTransition):
                Task.objects.move(task.pk, source, target, **fields_for(target))
        else:
            moved = Task.objects.move(task.pk, source, target, **fields_for(target))
            assert moved is (source == now_at)
            now_at = target if moved else now_at

        task.refresh_from_db()
        assert task.state == now_at
        assert task.is_final is (task.completed_at is not None)


def test_nothing_leaves_complete_and_everything_else_ends():
    assert TRANSITIONS[State.COMPLETE] == frozenset()
    for state in State:
        reachable, new = {state}, {state}
        while new:
            new = set().union(*(TRANSITIONS[one] for one in new)) - reachable
            reachable |= new
        assert state == State.COMPLETE or State.CANCELLED in reachable
