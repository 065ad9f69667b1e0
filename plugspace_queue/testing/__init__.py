"""For a host project's tests: run tasks here and now, by the worker's own code, from rows alone.

Works in `TestCase`, where nothing commits, and in `TransactionTestCase`; needs no worker and no
Redis. Not for production code.
"""

from plugspace_queue.testing.asserts import assert_no_tasks, assert_state, assert_submitted
from plugspace_queue.testing.eagerness import eager
from plugspace_queue.testing.running import declarations, processors, run_pending

__all__ = [
    "assert_no_tasks",
    "assert_state",
    "assert_submitted",
    "declarations",
    "eager",
    "processors",
    "run_pending",
]
