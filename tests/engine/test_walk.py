"""Ten thousand operations in one run: each grant is the one that the definition of the order names.

After each step the queue holds what the model holds: no count drifts, no slot leaks.
"""

import os

import pytest

from tests.engine.tools import Line
from tests.engine.walk import OPERATIONS, Walk

SEED = int(os.environ.get("PSQ_WALK_SEED", "20260101"))
STEPS = 10_000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_operations_go_as_the_model_of_the_order_says(line: Line) -> None:
    walk = Walk(line, SEED)
    for number in range(STEPS):
        try:
            walk.step()
            walk.compare()
            if number % 10 == 0:
                line.check()
        except AssertionError as error:
            last = ", ".join(walk.steps[-12:])
            raise AssertionError(f"seed {SEED}, step {number}, after {last}: {error}") from error

    assert set(walk.steps) == {operation.__name__ for operation in OPERATIONS}
    print(f"seed {SEED}: {walk.granted} grants, {walk.refused} late words refused")
    assert walk.granted > STEPS / 10
    assert walk.refused > STEPS / 1000
