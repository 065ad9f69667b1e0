"""Follows a page of the documentation in a new folder, block by block, as its reader would.

`sh follow` is run, with the variables that earlier blocks have set; `sh look` too, again and again
until it prints what the page says; `sh serve` is started and goes on. `python follow` is written to
the file that its first line names, or added to it ("…, at the end"). `text output` stands in what
the block before it printed; `…` is any text.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.support import patient, wait_until
from tests.tooling.pages import ROOT, Block, blocks_of

ADDRESS = "127.0.0.1:8000"
PROGRAMS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
MARKS = {"follow", "look", "serve", "output"}
OF_ENVIRONMENT = ("python -m venv", "pip install")
"""Lines that make an environment: the tests have one."""

FILE = re.compile(r"# ([\w./]+)(, at the end)?\n")
SERVES = re.compile(r"runserver|uvicorn|gunicorn")


class Walkthrough:
    """One page in one folder; `close` ends what it has started.

    `replaced`: what stands on the page → what is here, as the address of a server. With it the
    folder's environment is the one of `environment`, and the page installs into it.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        replaced: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._replaced = replaced
        self.port = _free_port()
        self._said = ""
        self._look: Block | None = None
        self._variables = folder / ".variables"
        self._variables.write_text("")
        # What the settings of the tests' own project are made of is not the reader's.
        own = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in environment.items() if name not in own}
        # An environment of its own has the package; that of the tests finds it here.
        of_tests = {"PATH": PROGRAMS, "PYTHONPATH": str(ROOT)} if replaced is None else {}
        self._environment = kept | of_tests | {"PYTHONUNBUFFERED": "1", "no_proxy": "*"}
        self._running = ExitStack()

    def follow(self, page: Path) -> None:
        """Do what the page says, from top to bottom; fails at the first block that does not."""
        for block in blocks_of(page):
            if block.mark in MARKS:
                step = getattr(self, f"_{block.language}_{block.mark}")
                step(block)

    def close(self) -> None:
        """End the processes that serve."""
        self._running.close()

    def _python_follow(self, block: Block) -> None:
        named = FILE.match(block.text)
        assert named, f"{block}: the first line names no file"
        path = self.folder / named[1]
        assert path.parent.is_dir(), f"{block}: there is no folder for it"
        with path.open("a" if named[2] else "w", encoding="utf-8") as file:
            file.write(self._put_in(block.text[named.end() :]))

    def _sh_follow(self, block: Block) -> None:
        variables = self._variables
        script = f". {variables}\nset -eua\n{self._adapted(block)}\nexport -p >{variables}\n"
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(120),
        )
        self._said, self._look = done.stdout, None
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{self._logs()}"

    def _sh_look(self, block: Block) -> None:
        self._sh_follow(block)
        self._look = block

    def _sh_serve(self, block: Block) -> None:
        number = len(list(self.folder.glob("*.log")))
        with (self.folder / f"{number}.log").open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {self._adapted(block).strip()}"],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.callback(_end, process)
        if SERVES.search(block.text):
            wait_until(lambda: _answers(self.port), 30, f"{block} does not answer")

    def _text_output(self, block: Block) -> None:
        look = self._look

        def is_there() -> bool:
            if look and _absent(block, self._said):
                self._sh_follow(look)
            return not _absent(block, self._said)

        if look:
            wait_until(is_there, 30, f"{block} is not what {look} printed")
        assert not (lines := _absent(block, self._said)), f"{lines} not in {self._said!r}"

    def _adapted(self, block: Block) -> str:
        lines = self._put_in(block.text).replace(ADDRESS, f"127.0.0.1:{self.port}").splitlines()
        own = self._replaced is not None
        kept = (line for line in lines if own or not line.startswith(OF_ENVIRONMENT))
        return "\n".join(kept).replace("manage.py runserver", f"manage.py runserver {self.port}")

    def _put_in(self, text: str) -> str:
        for name, found in (self._replaced or {}).items():
            text = text.replace(name, found)
        return text

    def _logs(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in logs)


def _absent(block: Block, said: str) -> list[str]:
    """The lines of a block of output that were not printed."""
    words = " ".join(said.split())
    return [line for line in filter(None, block.text.splitlines()) if not _is_in(line, words)]


def _is_in(line: str, words: str) -> bool:
    parts = (re.escape(" ".join(part.split())) for part in line.split("…"))
    return re.search(".*".join(parts), words) is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=patient(1)):
        return True
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=patient(20))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
