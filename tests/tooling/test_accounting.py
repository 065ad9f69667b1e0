"""CPU time of other processes, and an earlier revision beside this one, in `make bench`."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks import accounting, against, drains, measures, sizes
from benchmarks.accounting import Usage
from benchmarks.drains import Window
from benchmarks.environments import Unavailable
from benchmarks.running import Step, _steps
from tests.support import wait_until

BUSY = (
    "import time; until = time.process_time() + {seconds}\nwhile time.process_time() < until: pass"
)
LINUX = pytest.mark.skipif(not accounting.IS_HERE, reason="only Linux has /proc")


@pytest.fixture
def worker() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own: it uses CPU time, its child has used as much, it waits."""
    busy = BUSY.format(seconds=0.2)
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])\n{busy}\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}print(1, flush=True)\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


@LINUX
def test_the_cpu_time_of_a_session_has_that_of_children_that_ended(
    worker: "subprocess.Popen[bytes]",
):
    assert worker.stdout
    worker.stdout.readline()

    used = accounting.of_sessions([worker.pid])

    # Each ran its loop for 0.2 s; the rest is the start of two interpreters.
    assert used > 0.38
    assert accounting.of_family(worker.pid) == pytest.approx(used, abs=0.02)


@LINUX
def test_a_process_that_is_gone_has_used_nothing():
    gone = subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True)
    gone.wait()

    assert wait_until(lambda: accounting.of_sessions([gone.pid]) == 0)
    assert accounting.of_family(gone.pid) == accounting.of_family(None) == 0


def test_a_drain_that_is_too_short_is_repeated_with_more_tasks():
    used = Usage(worker=0, redis=0, postgres=0)
    window = Window(tasks=5000, rate=10_000.0, used=used)

    assert window.lasts(0.5)
    assert not window.lasts(5.0)
    assert window.enough(5.0) == 60_000


def test_an_earlier_revision_takes_part_in_what_drives_the_public_surface():
    checkout = against.Checkout(revision="abc")

    found = {measure.key: measure for measure in against._beside(checkout, measures.MEASURES)}

    assert set(found) >= {"drain", "drain-2", "drain-100", "pickup", "single", "bulk", "sleepers"}
    assert not set(found) & set(against.UNCHANGED)
    names = [system.name for system in found["drain"].systems[:2]]
    assert names == [
        "plugspace_queue, PostgreSQL, threads",
        "plugspace_queue abc, PostgreSQL, threads",
    ]
    assert [system.is_ours for system in found["drain"].systems[:2]] == [True, False]


def test_what_is_no_revision_is_refused():
    with pytest.raises(Unavailable, match="no-such-name is no revision"):
        against.measures("no-such-name", measures.MEASURES)


def test_systems_take_turns_and_every_second_round_begins_at_the_other_end():
    pair = (measures.THREADS, measures.SQLITE)
    measure = replace(measures.MEASURES[0], systems=pair)

    steps: list[Step] = list(_steps([measure], replace(sizes.SMOKE, runs=2)))

    assert [step.system for step in steps] == [*pair, *reversed(pair)]


def test_only_drains_of_ours_have_many_organizations():
    for measure in measures.MEASURES:
        if isinstance(measure.run, drains.Drain) and measure.run.organizations > 1:
            assert all(system.is_ours for system in measure.systems)
