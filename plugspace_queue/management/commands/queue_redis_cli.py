"""manage.py queue_redis_cli: redis-cli on the queues' database, or a small substitute for it."""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue import embedded_redis
from plugspace_queue.broker import server
from plugspace_queue.conf import get_settings
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.management.base import QueueCommand

BINARIES = ("redis-cli", "valkey-cli")
GOODBYE = {"quit", "exit"}


class Command(QueueCommand):
    """With words after it: one command, its answer, done. Without: a prompt."""

    summary = gettext_lazy(
        "Open redis-cli (or a small substitute) on the queues' database, or run one command."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", default=queue_names()[0], choices=queue_names())
        parser.add_argument(
            "--builtin",
            action="store_true",
            help=_("use the substitute, even if redis-cli is there"),
        )
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...")

    def handle(self, *args: Any, **options: Any) -> None:
        name, words = options["queue"], options["words"]
        if [word.lower() for word in words] == ["shutdown"] and _is_embedded(name):
            embedded_redis.stop()
            return
        self._run(name, words, wants_builtin=options["builtin"])

    def _run(self, name: str, words: list[str], *, wants_builtin: bool) -> None:
        # The embedded server is started by the first question that finds it missing.
        server.command(name, ["PING"])
        binary = None if wants_builtin else next(filter(None, map(shutil.which, BINARIES)), None)
        if binary is not None:
            arguments, secrets = server.cli_arguments(name)
            os.execve(binary, [binary, *arguments, *words], os.environ | secrets)
        elif words:
            self._answer(name, words)
        else:
            self._prompt(name)

    def _prompt(self, name: str) -> None:
        """Line by line until quit or the end of the input."""
        is_terminal = sys.stdin.isatty()
        while True:
            if is_terminal:
                self.stdout.write("redis> ", ending="")
                self.stdout.flush()
            line = sys.stdin.readline()
            words = _words(line)
            if not line or (words and words[0].lower() in GOODBYE):
                return
            if words and [word.lower() for word in words] == ["shutdown"] and _is_embedded(name):
                embedded_redis.stop()
                return
            if words:
                self._answer(name, words)

    def _answer(self, name: str, words: list[str]) -> None:
        for line in formatted(server.command(name, words)):
            self.stdout.write(line)


def formatted(value: Any, indent: str = "") -> Iterator[str]:
    """An answer in the manner of redis-cli.

    >>> list(formatted([b"a", 1, None]))
    ['1) "a"', '2) (integer) 1', '3) (nil)']
    """
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if not isinstance(value, list | tuple | set):
        yield indent + _scalar(value)
        return
    if not value:
        yield f"{indent}(empty array)"
    for number, part in enumerate(value, start=1):
        mark = f"{number}) "
        first, *rest = formatted(part)
        yield f"{indent}{mark}{first}"
        yield from (" " * len(indent + mark) + line for line in rest)


def _scalar(value: Any) -> str:
    if value is None:
        return "(nil)"
    if isinstance(value, bool):
        return "OK" if value else "(error) no"
    if isinstance(value, int):
        return f"(integer) {value}"
    if isinstance(value, Exception):
        return f"(error) {value}"
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _is_embedded(name: str) -> bool:
    config = settings.RQ_QUEUES[name]
    return (
        get_settings().embedded and config.get("UNIX_SOCKET_PATH") == embedded_redis.socket_path()
    )
