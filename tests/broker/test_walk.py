"""Ten thousand operations in one run: each grant is the one that the definition of the order names.

Every few steps the queue holds what the model holds: no count drifts, no slot leaks. Which step
broke it is found with PSQ_WALK_EVERY=1; PSQ_WALK_SEED and PSQ_WALK_STEPS make other walks.
"""

import os

import pytest

from tests.broker.tools import Line
from tests.broker.walk import OPERATIONS, Walk

SEED = int(os.environ.get("PSQ_WALK_SEED", "20260101"))
STEPS = int(os.environ.get("PSQ_WALK_STEPS", "10000"))
EVERY = int(os.environ.get("PSQ_WALK_EVERY", "20"))
"""Steps between two looks at all that the queue holds, which take most of the time."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_operations_go_as_the_model_of_the_order_says(line: Line) -> None:
    walk = Walk(line, SEED)
    for number in range(STEPS):
        try:
            walk.step()
            if number % EVERY == 0:
                walk.compare()
                line.check()
        except AssertionError as error:
            last = ", ".join(walk.steps[-12:])
            raise AssertionError(f"seed {SEED}, step {number}, after {last}: {error}") from error

    assert set(walk.steps) == {operation.__name__ for operation in OPERATIONS}
    print(f"seed {SEED}: {walk.granted} grants, {walk.refused} late words refused")
    assert walk.granted > STEPS / 10
    assert walk.refused > STEPS / 1000
