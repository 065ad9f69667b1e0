"""A script of the host, which serves no requests and is no worker."""

import pytest

from plugspace_queue import metrics
from tests.support import patient

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120)]

SUBMIT = """
from plugspace_queue import queue_manager
queue_manager.add_task(
    "ARCHITECT", project_id="p", user_id="u", organization_id="acme", input={"prompt": "a site"}
)
"""


def added():
    """Tasks that were accepted, by all processes."""
    names = metrics.read().items()
    return sum(number for name, number in names if name.startswith(metrics.ADDED.name))


def test_the_counts_of_a_script_are_added_when_it_ends(rqworker):
    before = added()

    script = rqworker("-c", SUBMIT, command="shell", wait=False)

    assert script.wait(timeout=patient(40)) == 0
    assert added() == before + 1
