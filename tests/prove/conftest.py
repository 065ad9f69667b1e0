"""Fixtures of the suite that proofs use as well."""

from tests.processes.conftest import acme, rqworker, until_final, until_running

__all__ = ["acme", "rqworker", "until_final", "until_running"]
