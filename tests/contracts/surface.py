"""Every public name in one structure, which the tests compare with `surface.json`.

`make snapshot` writes the file. Modules may move and texts may change; hosts, programs, operators
and stored data rely on these names.
"""

import inspect
import json
import re
from argparse import Action
from collections.abc import Iterator
from dataclasses import MISSING, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.management import get_commands, load_command_class
from django.urls import URLPattern, URLResolver, get_resolver

import plugspace_queue
from plugspace_queue import conf, errors, queue_manager, signals, testing
from plugspace_queue.broker.task_store import PERFORM
from plugspace_queue.domain import enums
from plugspace_queue.schemas.task import AgentTask
from scripts.docs import redis_page

APP, DEMO = "plugspace_queue", "project"
COMMON = {"help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color"}


def surface() -> dict[str, Any]:
    """Names by the place where they are used."""
    return {
        "exports": sorted(plugspace_queue.__all__),
        "manager": dict(_methods(type(queue_manager))),
        "testing": sorted(testing.__all__),
        "words": {name: [str(word.value) for word in enum] for name, enum in _enums()}
        | {"TaskType": [kind.value for kind in plugspace_queue.TaskType]},
        "signals": sorted(n for n in vars(signals) if n.startswith("task_")),
        "errors": dict(_errors()),
        "settings": dict(_settings()),
        "rq_settings": conf.rq_settings(url="redis://localhost/0")[1],
        "stored_call": PERFORM,
        "redis_keys": dict(_redis_keys()),
        "task_on_the_wire": _without_texts(
            AgentTask.model_json_schema(by_alias=True, mode="serialization")
        ),
        "urls": dict(_urls(get_resolver(f"{APP}.urls"))),
        "admin_urls": sorted({name for name in _admin_names() if APP in name}),
        "commands": dict(_commands()),
        "tables": dict(_tables()),
        "permissions": dict(_permissions()),
        "checks": _check_ids(),
    }


def _without_texts(schema: Any) -> Any:
    if isinstance(schema, dict):
        kept = {name: part for name, part in schema.items() if name not in ("description", "title")}
        return {name: _without_texts(part) for name, part in kept.items()}
    return [_without_texts(part) for part in schema] if isinstance(schema, list) else schema


def _methods(kind: type) -> Iterator[tuple[str, str]]:
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            # Arguments, their kinds and their defaults; annotations name modules that may move.
            given = inspect.signature(method).parameters.values()
            yield name, ", ".join(str(one.replace(annotation=one.empty)) for one in given)


def _enums() -> Iterator[tuple[str, Any]]:
    for name, found in sorted(vars(enums).items()):
        if inspect.isclass(found) and issubclass(found, StrEnum) and list(found):
            yield name, found


def _errors() -> Iterator[tuple[str, Any]]:
    for name, found in sorted(vars(errors).items()):
        if inspect.isclass(found) and hasattr(found, "code"):
            yield name, [found.code, getattr(found, "http_status", None)]


def _settings() -> Iterator[tuple[str, str]]:
    for field in fields(conf.AppSettings):
        made = field.default_factory() if field.default is MISSING else field.default
        yield field.name.upper(), repr(made)


def _redis_keys() -> Iterator[tuple[str, str]]:
    yield from re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", redis_page(), re.M)


def _urls(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, Any]]:
    for one in resolver.url_patterns:
        path = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _urls(one, path)
        else:
            yield path, [one.name, sorted(_verbs(one))]


def _verbs(one: URLPattern) -> set[str]:
    view = getattr(one.callback, "cls", None) or getattr(one.callback, "view_class", None)
    actions = getattr(one.callback, "actions", None)
    offered = actions or ("get", "post", "put", "patch", "delete")
    # REST framework adds HEAD to the actions of a view with the first request.
    return {verb for verb in offered if actions or hasattr(view, verb)} - {"head"}


def _admin_names() -> Iterator[str]:
    for one in admin.site.get_urls():
        patterns = one.url_patterns if isinstance(one, URLResolver) else [one]
        yield from (str(pattern.name) for pattern in patterns if pattern.name)


def _commands() -> Iterator[tuple[str, Any]]:
    for name, app in sorted(get_commands().items()):
        if app in (APP, DEMO):
            parser = load_command_class(app, name).create_parser("manage.py", name)
            actions = [one for one in parser._actions if one.dest not in COMMON]
            yield name, [_option(one) for one in actions if one.dest != "force_color"]


def _option(one: Action) -> str:
    words = "/".join(one.option_strings) or one.dest
    return f"{words} nargs={one.nargs!r} default={_default(one)} choices={_choices(one)}"


def _default(one: Action) -> str:
    # A folder of this checkout is named as it is in every other.
    is_folder = isinstance(one.default, Path)
    return str(one.default.relative_to(Path.cwd())) if is_folder else repr(one.default)


def _choices(one: Action) -> list[str] | None:
    return sorted(map(str, one.choices)) if one.choices else None


def _tables() -> Iterator[tuple[str, Any]]:
    for model in apps.get_app_config(APP).get_models():
        columns = {
            str(field.column): f"{field.get_internal_type()} {'null' if field.null else 'not null'}"
            for field in model._meta.local_concrete_fields
        }
        yield model._meta.db_table, {"model": model.__name__, "columns": columns}


def _permissions() -> Iterator[tuple[str, Any]]:
    for model in apps.get_app_config(APP).get_models():
        options = model._meta
        given = [f"{word}_{options.model_name}" for word in options.default_permissions]
        yield options.label, sorted([*given, *(code for code, _ in options.permissions)])


def _check_ids() -> list[str]:
    sources = Path(plugspace_queue.__file__).parent.rglob("*.py")
    texts = (source.read_text(encoding="utf-8") for source in sources)
    return sorted({code for text in texts for code in re.findall(r"psq\.[EW]\d+", text)})


def as_text() -> str:
    """The structure as JSON, a name a line."""
    return json.dumps(surface(), indent=1, sort_keys=True, default=str) + "\n"
