"""Budgets of hops: the files of the package that a submit runs through, and steps between them.

They hold what there is. The aims are lower (`hops.BUDGETS`): 20 files and 26 edges, which a submit
kept until types were declared and quotas overridden; the models of types are four more files.
"""

from collections.abc import Callable
from typing import Any

import pytest

from plugspace_queue import queue_manager
from tests.api.conftest import acme, key_of
from tests.factories import arguments, make_organization
from tests.tooling.hops import Budget, Hops, Trace

__all__ = ["acme", "key_of"]

pytestmark = pytest.mark.django_db(transaction=True)

NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}


def traced(act: Callable[[], Any]) -> Hops:
    """The hops of a call, once everything that is done once has been done."""
    act()
    act()
    with Trace() as trace:
        act()
    return trace.hops()


@pytest.mark.postgres
def test_a_submit_runs_through_at_most_24_files_and_31_edges():
    make_organization()

    hops = traced(lambda: queue_manager.add_task(**arguments()))

    assert Budget(files=24, edges=31).holds(hops), sorted(hops.edges)


@pytest.mark.postgres
def test_a_submit_over_rest_runs_through_at_most_36_files_and_53_edges(acme: Any):
    hops = traced(lambda: acme.send("tasks/", NEW))

    assert Budget(files=36, edges=53).holds(hops), sorted(hops.edges)
