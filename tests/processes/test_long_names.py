"""Names of workers that no row can hold."""

import pytest

from plugspace_queue.models import Attempt
from tests.support import wait_until
from tests.worker.conftest import submit

pytestmark = [pytest.mark.usefixtures("acme", "nothing_is_left"), pytest.mark.timeout(120)]

MOST = 128


@pytest.mark.slow
def test_a_worker_with_a_very_long_name_works_and_warns(rqworker, until_final, tmp_path):
    tasks = [submit(input={"prompt": "sleep 0"}), submit("DESIGN")]
    names = ["n" * 300 + ending for ending in ("-one", "-two")]

    first = rqworker("architect", "--name", names[0], wait=False)
    second = rqworker("design", "--name", names[1], wait=False)

    for task in tasks:
        wait_until(lambda task=task: until_final(task), 30)
        assert until_final(task).state == "complete"
    told = set(Attempt.objects.filter(task__in=tasks).values_list("worker_name", flat=True))
    # Names that differ stay different.
    assert len(told) == 2
    assert all(len(name) <= MOST and name.startswith("n" * 100) for name in told)
    for log in tmp_path.glob("worker-*.log"):
        assert "name is too long" in log.read_text()
    assert first.poll() is None and second.poll() is None
