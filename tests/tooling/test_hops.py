"""A budget of hops: the files of the package that a submit runs through, and steps between them."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import plugspace_queue
from plugspace_queue import queue_manager
from tests.api.conftest import acme, key_of
from tests.factories import arguments, make_organization

__all__ = ["acme", "key_of"]

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = f"{Path(plugspace_queue.__file__).parent}/"
NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}


class Trace:
    """Files of the package whose functions were called, and pairs of caller and called."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.edges: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        here = frame.f_code.co_filename
        if event != "call" or not here.startswith(ROOT):
            return
        self.files.add(here.removeprefix(ROOT))
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(ROOT):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != here:
            pair = caller.f_code.co_filename.removeprefix(ROOT), here.removeprefix(ROOT)
            self.edges.add(pair)


def traced(act: Callable[[], Any]) -> Trace:
    """The trace of a call, once everything that is done once has been done."""
    act()
    act()
    trace = Trace()
    before = sys.getprofile()
    sys.setprofile(trace)
    try:
        act()
    finally:
        sys.setprofile(before)
    return trace


@pytest.mark.postgres
def test_a_submit_runs_through_at_most_20_files_and_26_edges():
    make_organization()

    trace = traced(lambda: queue_manager.add_task(**arguments()))

    assert (len(trace.files) <= 20, len(trace.edges) <= 26) == (True, True), sorted(trace.edges)


@pytest.mark.postgres
def test_a_submit_over_rest_runs_through_at_most_29_files_and_38_edges(acme: Any):
    trace = traced(lambda: acme.send("tasks/", NEW))

    assert (len(trace.files) <= 29, len(trace.edges) <= 38) == (True, True), sorted(trace.edges)
