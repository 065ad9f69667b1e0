"""A worker that starts while its disk is full works, and uses the disk when there is room again."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugspace_queue.models import Attempt
from tests.support import patient, wait_until
from tests.worker.conftest import submit

pytestmark = [pytest.mark.usefixtures("acme"), pytest.mark.timeout(120), pytest.mark.slow]

FEWEST_FILES, MANY_FILES = 1, 1000
"""A file system counts its root as a file."""

Disk = Callable[[int], Path]


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="psq-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def disk(place: Path) -> Iterator[Disk]:
    """A file system of one page and so many files; called again it has room for others."""
    try:
        mount("-t", "tmpfs", "-o", f"size=4k,nr_inodes={MANY_FILES}", "none", str(place))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this user may not mount a file system: {error}")

    def with_room_for(files: int) -> Path:
        mount("-o", f"remount,nr_inodes={files}", str(place))
        return place

    yield with_room_for
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("files", range(FEWEST_FILES, FEWEST_FILES + 3))
def test_a_worker_whose_folder_of_temporary_files_is_full_starts_and_works(
    rqworker, disk: Disk, until_final, files: int
):
    folder = disk(files)
    shared, isolated = submit(input={"prompt": "sleep 0"}), submit("CODE")

    worker = rqworker("architect", "code", TMPDIR=str(folder))

    assert until_final(shared, 30).state == "complete"
    # Without room for a single file others are used, which have some.
    ended = Attempt.objects.filter(task_id=isolated.pk)
    wait_until(ended.exists, 40)
    disk(MANY_FILES)
    assert until_final(isolated, 60).state == "complete"
    assert worker.poll() is None


def test_a_worker_whose_log_is_on_a_full_disk_starts_works_and_ends(
    rqworker, disk: Disk, until_final
):
    folder = disk(MANY_FILES)
    (folder / "log").write_bytes(b"x" * 4096)
    shared = submit(input={"prompt": "sleep 0"})

    worker = rqworker("architect", log=folder / "log", TMPDIR=str(folder))

    assert until_final(shared, 30).state == "complete"
    worker.terminate()
    assert worker.wait(timeout=patient(20)) == 0
