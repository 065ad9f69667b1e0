"""Real worker processes for journeys, as in the tests of processes."""

from tests.processes.conftest import acme, nothing_is_left, rqworker, until_final, until_running

__all__ = ["acme", "nothing_is_left", "rqworker", "until_final", "until_running"]
