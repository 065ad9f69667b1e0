"""Writes the two pages of docs/ that are made from code: settings.md and redis.md."""

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise
from typing import Any

from plugspace_queue import conf
from plugspace_queue.broker import keys

SETTINGS_HEAD = """# Settings

Written by `make docs` from `plugspace_queue/conf.py`; change it there.

Every key of the `PLUGSPACE_QUEUE` dict in a host project's settings, with its default. A key that
is not listed here is an error of `manage.py check`. Seconds unless the text says otherwise.

| key | type | default | meaning |
|---|---|---|---|
"""

REDIS_HEAD = """# Redis keys

Written by `make docs` from `plugspace_queue/broker/keys.py`; change it there.

Every key of ours, in the database of the RQ connection. `{queue}` is a queue's name (`architect`),
`{TYPE}` a task type (`ARCHITECT`), `{month}` a month in UTC (`2026-01`). The first segment is the
setting `KEY_PREFIX`. RQ's own keys keep RQ's names and layout. `manage.py queue_redis_cli` opens
a client on this database.

| key | type | meaning | time to live |
|---|---|---|---|
"""

PLACEHOLDERS = {
    "name": "{queue}",
    "organization_id": "{orgId}",
    "task_id": "{taskId}",
    "task_type": "{TYPE}",
    "workflow_id": "{id}",
    "export_id": "{exportId}",
}


def pages() -> dict[str, str]:
    """File name in docs/ → its text."""
    return {"settings.md": settings_page(), "redis.md": redis_page()}


def settings_page() -> str:
    """One row per field of AppSettings."""
    return SETTINGS_HEAD + "".join(_settings_rows())


def redis_page() -> str:
    """One row per public function of `keys`."""
    return REDIS_HEAD + "".join(_key_row(function) for function in _key_functions())


def _settings_rows() -> Iterator[str]:
    told = dict(_told_fields())
    defaults = conf.AppSettings()
    for field in fields(conf.AppSettings):
        annotation, text = told[field.name]
        default = repr(getattr(defaults, field.name))
        yield _row(f"`{field.name.upper()}`", f"`{annotation}`", f"`{default}`", text)


def _told_fields() -> Iterator[tuple[str, tuple[str, str]]]:
    """Field → its annotation and the text below it, both as they stand in the source."""
    module = ast.parse(inspect.getsource(conf.AppSettings))
    body = getattr(module.body[0], "body", [])
    for node, following in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, (ast.unparse(node.annotation), _text(following))


def _text(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def _key_functions() -> list[Callable[..., str]]:
    own = [f for _, f in inspect.getmembers(keys, inspect.isfunction) if _is_public(f)]
    return sorted(own, key=lambda function: function.__code__.co_firstlineno)


def _is_public(function: Callable[..., Any]) -> bool:
    return function.__module__ == keys.__name__ and not function.__name__.startswith("_")


def _key_row(function: Callable[..., str]) -> str:
    names = inspect.signature(function).parameters
    key = function(*(PLACEHOLDERS.get(name, f"{{{name}}}") for name in names))
    kind, meaning, life = inspect.cleandoc(function.__doc__ or "").rstrip(".").split(" · ")
    return _row(f"`{key}`", kind, meaning, life)


def _row(*cells: str) -> str:
    # A bar would end the cell, inside of code as well.
    one_line = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(one_line)} |\n"
