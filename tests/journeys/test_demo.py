"""`make demo` as a newcomer meets it: all comes up, ends well, and nothing is left behind."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from project.demo import web
from project.demo.interrupts import Interrupts
from project.demo.processes import ChildDied, Children
from project.demo.progress import Bars, Lines
from project.demo.scenario import Step
from tests.support import patient, wait_until

ROOT = Path(__file__).parents[2]
LIMIT = 120


class Demo:
    """One run of the command in a place of its own."""

    def __init__(self, home: Path, server: str) -> None:
        self.home = home
        self.mark = f"PSQ_TEST_DEMO={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.environment = os.environ | {
            name: value,
            "DATABASE_URL": f"sqlite:///{home / 'db.sqlite3'}",
            "PLUGSPACE_EMBEDDED_DIR": server,
            "PLUGSPACE_SITES_ROOT": str(home / "sites"),
            "PORT": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        logs = str(self.home / "log")
        return [sys.executable, "manage.py", "queue_demo", "--logs", logs, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment | {"ONCE": "1"},
            capture_output=True,
            text=True,
            timeout=patient(LIMIT),
            check=False,
        )

    def start(self, **streams: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(), cwd=ROOT, env=self.environment, start_new_session=True, **streams
        )

    def processes(self) -> list[str]:
        """Command lines of all living processes that have this run's mark in their environment."""
        return [
            (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            for process in Path("/proc").iterdir()
            if process.name.isdigit() and self._is_ours(process)
        ]

    def _is_ours(self, process: Path) -> bool:
        try:
            return self.mark.encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    # The path of a socket is short, and those of tests are not.
    with TemporaryDirectory(prefix="r-") as server:
        run = Demo(tmp_path, server)
        yield run
        assert not run.processes()


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(2 * LIMIT)
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
class TestTheWholeDemo:
    def test_it_completes_twice_in_a_row_and_leaves_a_site_and_no_process(self, demo: Demo):
        for _ in range(2):
            done = demo.run()

            assert done.returncode == 0, done.stdout + done.stderr
            assert "The workflow is complete" in done.stdout
            assert not demo.processes()
        pages = [path for path in (demo.home / "sites").rglob("index.html") if path.stat().st_size]
        assert pages
        assert all(re.search(rf"{kind} +100 %  complete", done.stdout) for kind in STEPS)

    def test_it_says_why_the_workflow_is_not_complete(self, demo: Demo):
        done = demo.run("--timeout", "0")

        assert done.returncode == 1
        assert "The workflow is not complete: ARCHITECT" in done.stderr
        assert "worker-1.log" in done.stderr

    def test_on_a_terminal_it_serves_until_ctrl_c(self, demo: Demo):
        terminal = Terminal()
        process = demo.start(stdin=terminal.end, stdout=terminal.end, stderr=terminal.end)

        wait_until(lambda: "Serving until Ctrl-C" in terminal.text, LIMIT, terminal.text)
        os.killpg(process.pid, signal.SIGINT)

        assert process.wait(timeout=patient(30)) == 0, terminal.text
        assert "█" * 24 in terminal.text

    def test_a_signal_in_the_middle_leaves_nothing_behind(self, demo: Demo):
        process = demo.start(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout
        for line in process.stdout:
            if b"Started" in line:
                break

        process.send_signal(signal.SIGTERM)

        told = process.stdout.read().decode()
        process.stdout.close()
        assert process.wait(timeout=patient(30)) == 130
        assert told.endswith("Stopped before the workflow was complete.\n")


STEPS = ["ARCHITECT", "DESIGN", "CODE", "DEPLOY", "EXPORT"]


class Terminal:
    """A terminal that remembers what was written to it."""

    def __init__(self) -> None:
        master, self.end = pty.openpty()
        self.text = ""
        threading.Thread(target=self._read, args=(master,), daemon=True).start()

    def _read(self, master: int) -> None:
        while data := os.read(master, 65536):
            self.text += data.decode(errors="replace")


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path: Path):
    children = Children(tmp_path, dict(os.environ))
    children.start("web", "this_module_does_not_exist")

    with pytest.raises(ChildDied, match="No module named this_module_does_not_exist"):
        wait_until(children.check)


def test_a_child_that_will_not_go_is_killed_with_what_it_started(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("project.demo.processes.GRACE", 0.3)
    (tmp_path / "stubborn.py").write_text(
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
        "signal.pause()\n"
    )
    children = Children(tmp_path, os.environ | {"PYTHONPATH": str(tmp_path)})
    children.start("stubborn", "stubborn")
    log = children.running[0].log
    grandchild = wait_until(lambda: log.read_text().strip())

    children.stop()

    wait_until(lambda: not is_alive(int(grandchild)))


def test_children_end_when_the_demo_is_killed(tmp_path: Path):
    (tmp_path / "patient.py").write_text("import signal\nprint(1, flush=True)\nsignal.pause()\n")
    (tmp_path / "demo.py").write_text(
        "import os, pathlib, signal\n"
        "from project.demo.processes import Children\n"
        f"children = Children(pathlib.Path({str(tmp_path)!r}), dict(os.environ))\n"
        "children.start('patient', 'patient')\n"
        "print(children.running[0].process.pid, flush=True)\n"
        "signal.pause()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with subprocess.Popen(
        [sys.executable, "-m", "demo"],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout
        pid = int(demo.stdout.readline())
        wait_until(lambda: (tmp_path / "patient.log").read_text() == "1\n")

        demo.kill()

    wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_taken_port_is_replaced_by_a_free_one():
    with web.open_socket(0) as first:
        taken = first.getsockname()[1]

        with web.open_socket(taken) as second:
            assert second.getsockname()[1] not in (0, taken)


def test_an_interrupt_waits_for_the_end_of_a_held_block_and_comes_once():
    interrupts = Interrupts()
    done = []

    with interrupts.installed():
        with pytest.raises(KeyboardInterrupt), interrupts.held():
            signal.raise_signal(signal.SIGTERM)
            done.append("held")
        signal.raise_signal(signal.SIGINT)
        done.append("second one swallowed")

    assert done == ["held", "second one swallowed"]


def step(**changes: object) -> Step:
    values = {"type": "CODE", "state": "processing", "percent": 50.0, "stage": "pages"}
    return Step(**{**values, "seconds": 1.5, "error": "", **changes})


def test_a_log_gets_one_line_per_change():
    out = StringIO()
    board = Lines(out)

    for steps in ([step()], [step(seconds=1.6)], [step(percent=100.0, state="complete", stage="")]):
        board.show(steps)

    assert out.getvalue().splitlines() == [
        "  CODE       50 %  processing  pages",
        "  CODE      100 %  complete",
    ]


def test_a_terminal_gets_bars_that_are_drawn_again_in_place():
    out = StringIO()
    board = Bars(out)

    board.show([step()])
    board.show([step(percent=100.0)])

    first, second = out.getvalue().split("\x1b[1A\x1b[J")
    assert first == f"  CODE      {'#' * 12}{'.' * 12}  50 %    1.5 s  processing  pages\n"
    assert second.count("#") == 24
