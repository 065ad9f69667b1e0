"""One round: a lane's first task starts after at most one task of each other lane."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.tools import Line, entry

STEPS = st.lists(st.one_of(st.just("take"), st.sampled_from("abcd")), min_size=5, max_size=60)


@given(steps=STEPS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_lane_has_two_turns_while_another_waits_for_its_first(
    line: Line, steps: list[str]
) -> None:
    line.redis.flushall()
    waiting: dict[str, dict[str, int]] = {}
    lengths = dict.fromkeys("abcd", 0)
    for number, step in enumerate(steps):
        if step != "take":
            line.put([entry(f"{step}{number}", step)])
            if not lengths[step]:
                waiting[step] = {}
            lengths[step] += 1
            continue
        for task_id in line.take():
            served = task_id[0]
            lengths[served] -= 1
            waiting.pop(served, None)
            for others in waiting.values():
                others[served] = others.get(served, 0) + 1
                assert others[served] == 1, steps
