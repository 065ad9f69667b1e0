"""System checks: settings that would lose tasks or fail late are found at `manage.py check`."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_origin, get_type_hints

from asgiref.sync import iscoroutinefunction
from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import TypeAdapter, ValidationError

from plugspace_queue.conf import QUEUE_CLASSES, SETTING, AppSettings, unchecked
from plugspace_queue.domain import lifecycle
from plugspace_queue.domain.catalog import queue_names
from plugspace_queue.domain.rq_classes import OURS
from plugspace_queue.domain.task_types import TaskType

Apps = Sequence[AppConfig] | None
SHORTEST_LEASE = 3
POSITIVE = (
    "timeout",
    "default_ttl",
    "max_prompt",
    "max_input",
    "max_result",
    "result_ttl",
    "export_ttl",
    "events_maxlen",
    "max_streams",
    "max_streams_per_organization",
    "max_streams_per_key",
    "org_tasks_maxlen",
    "relay_interval",
)
NOT_NEGATIVE = (
    "max_retries",
    "max_deferrals",
    "max_recoveries",
    "max_log_lines",
    "backoff_delay",
    "backoff_jitter",
    "hard_stop",
    "shutdown_grace",
    "snapshot_limit",
    "max_memory",
    "streams_reserved",
    "wait_threads",
)
HELPER = gettext_noop(
    "RQ_QUEUES, RQ = plugspace_queue.conf.rq_settings(url=…) gives entries that work."
)
TENANT_HELPER = gettext_noop(
    "A dotted path of (request) -> plugspace_queue.conf.Tenant | None, no coroutine."
)
NEEDED = ("rest_framework", "django_rq")


@checks.register("plugspace_queue")
def settings_are_known(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Keys and types of PLUGSPACE_QUEUE."""
    values = getattr(settings, SETTING, {})
    if not isinstance(values, Mapping):
        return [Error(_("%(setting)s must be a dict.") % {"setting": SETTING}, id="psq.E002")]
    hints = get_type_hints(AppSettings)
    found: list[CheckMessage] = []
    for name, value in values.items():
        hint = hints.get(str(name).lower())
        found += [_unknown(str(name))] if hint is None else _mistyped(name, value, hint)
    return found or list(_ranges(AppSettings.from_mapping(values)))


def _unknown(name: str) -> CheckMessage:
    known = [field.name.upper() for field in fields(AppSettings)]
    near = difflib.get_close_matches(name.upper(), known, n=1)
    hint = (
        _("Did you mean %(near)s?") % {"near": near[0]}
        if near
        else _("docs/settings.md lists all keys.")
    )
    return Error(
        _("%(setting)s has no key %(name)r.") % {"setting": SETTING, "name": name},
        hint=hint,
        id="psq.E001",
    )


def _mistyped(name: str, value: Any, hint: Any) -> list[CheckMessage]:
    try:
        TypeAdapter(hint).validate_python(value, strict=get_origin(hint) is not tuple)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        return [
            Error(
                _("%(setting)s[%(name)r]: %(message)s, not %(value)r.")
                % {"setting": SETTING, "name": name, "message": message, "value": value},
                id="psq.E002",
            )
        ]
    return []


def _ranges(conf: AppSettings) -> Iterator[CheckMessage]:
    if not conf.lease >= SHORTEST_LEASE:
        yield Error(
            _(
                "%(setting)s['LEASE'] is %(lease)s: a lease shorter than %(shortest)s s is"
                " lost in one slow moment."
            )
            % {"setting": SETTING, "lease": conf.lease, "shortest": SHORTEST_LEASE},
            hint=_("10 is the default."),
            id="psq.E003",
        )
    if isinstance(conf.concurrency, Mapping):
        yield from _strangers("CONCURRENCY", conf.concurrency, {kind.value for kind in TaskType})
    final = {state.value for state in lifecycle.FINAL}
    yield from _strangers("RETENTION", conf.retention, final)
    yield from _strangers("RATE_LIMIT", conf.rate_limit, {"max", "duration"})
    yield from _out_of_range(conf)


def _out_of_range(conf: AppSettings) -> Iterator[CheckMessage]:
    slots = conf.concurrency
    positive = {name: getattr(conf, name) for name in POSITIVE} | {
        "concurrency": min(slots.values(), default=1) if isinstance(slots, Mapping) else slots,
        # Both are needed: half a limit is none.
        "rate_limit": min(conf.rate_limit.get(name, 0) for name in ("max", "duration")),
    }
    rest = {name: getattr(conf, name) for name in NOT_NEGATIVE} | {
        "retention": min(conf.retention.values(), default=0)
    }
    # Written so that NaN is out of every range.
    wrong = {name: _("more than 0") for name, value in positive.items() if not value > 0}
    wrong |= {name: _("0 or more") for name, value in rest.items() if not value >= 0}
    if not conf.key_prefix:
        wrong["key_prefix"] = _("a word")
    for name, wanted in wrong.items():
        yield Error(
            _("%(setting)s[%(name)r] is %(value)r: it must be %(wanted)s.")
            % {
                "setting": SETTING,
                "name": name.upper(),
                "value": getattr(conf, name),
                "wanted": wanted,
            },
            id="psq.E010",
        )


def _strangers(name: str, given: Mapping[str, Any], known: set[str]) -> Iterator[CheckMessage]:
    for key in sorted(set(given) - known):
        hint = _("It knows %(names)s.") % {"names": ", ".join(sorted(known))}
        yield Error(
            _("%(setting)s[%(name)r] has no key %(key)r.")
            % {"setting": SETTING, "name": name, "key": key},
            hint=hint,
            id="psq.E001",
        )


@checks.register("plugspace_queue")
def tenant_callable_is_found(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """TENANT_OF_REQUEST names a function that can be called with a request."""
    if not (path := unchecked("TENANT_OF_REQUEST")) or not isinstance(path, str):
        return []
    place = f"{SETTING}['TENANT_OF_REQUEST']"
    message = _("%(place)s is %(path)r, which is no function that returns a Tenant or None.") % {
        "place": place,
        "path": path,
    }
    try:
        found = import_string(path)
        if callable(found) and not iscoroutinefunction(found):
            return []
    except ImportError as error:
        message = _("%(place)s cannot be imported: %(error)s") % {"place": place, "error": error}
    return [Error(message, hint=_(TENANT_HELPER), id="psq.E022")]


@checks.register("plugspace_queue")
def apps_are_installed(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The apps that ours stands on."""
    return [
        Error(
            _("%(name)s is not installed.") % {"name": name},
            hint=_("INSTALLED_APPS += ['%(name)s'].") % {"name": name},
            id="psq.E009",
        )
        for name in NEEDED
        if not apps.is_installed(name)
    ]


@checks.register("plugspace_queue")
def queues_are_ours(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """RQ_QUEUES has a queue for each task type, with our classes; RQ names our worker and job."""
    given, rq = getattr(settings, "RQ_QUEUES", {}), getattr(settings, "RQ", {})
    found: list[CheckMessage] = []
    for name in queue_names():
        config = given.get(name)
        if config is None:
            found.append(
                Error(
                    _("RQ_QUEUES has no %(name)r.") % {"name": name},
                    hint=_line(name),
                    id="psq.E004",
                )
            )
            continue
        found += _wrong_classes(
            f"RQ_QUEUES[{name!r}]", config, QUEUE_CLASSES, "psq.E004", hint=_hint(name, config)
        )
    return found + _wrong_classes("RQ", rq, OURS, "psq.E005")


def _line(name: str) -> str:
    """The line of settings that adds a queue."""
    given = getattr(settings, "RQ_QUEUES", {})
    ours = next((other for other in queue_names() if other in given), None)
    if ours is None:
        return _(HELPER)
    return _('Add RQ_QUEUES["%(name)s"] = {**RQ_QUEUES["%(ours)s"]} to the settings.') % {
        "name": name,
        "ours": ours,
    }


@checks.register("plugspace_queue")
def home_queue_is_ours(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """HOME_QUEUE is the queue of a declared task type."""
    home = unchecked("HOME_QUEUE")
    if not home or home in queue_names():
        return []
    hint = _("Choose one of %(names)s.") % {"names": ", ".join(queue_names())}
    message = _("%(setting)s['HOME_QUEUE'] is %(home)r, which is no queue of a task type.") % {
        "setting": SETTING,
        "home": home,
    }
    return [Error(message, hint=hint, id="psq.E013")]


def _hint(name: str, config: Mapping[str, Any]) -> str:
    if "QUEUE_CLASS" in config:
        return _(HELPER)
    return _(
        "A queue of the host has the name of the task type %(type)s: give one of"
        " them another name. If it is the type's own, %(helper)s"
    ) % {"type": name.upper(), "helper": _(HELPER)}


def _wrong_classes(
    place: str,
    given: Mapping[str, Any],
    wanted: Mapping[str, Any],
    check_id: str,
    *,
    hint: str = "",
) -> list[CheckMessage]:
    names = [name for name in wanted if name.endswith("_CLASS") or name == "SERIALIZER"]
    return [
        Error(
            _("%(place)s[%(name)r] is %(value)r, not %(wanted)r or a subclass.")
            % {"place": place, "name": name, "value": given.get(name), "wanted": wanted[name]},
            hint=hint or _(HELPER),
            id=check_id,
        )
        for name in names
        if not _is_or_extends(given.get(name), wanted[name])
    ]


def _is_or_extends(given: Any, wanted: str) -> bool:
    if given == wanted or given is None:
        return bool(given == wanted)
    try:
        own = import_string(given) if isinstance(given, str) else given
        return bool(issubclass(own, import_string(wanted)))
    except (ImportError, TypeError):
        return False


@checks.register("plugspace_queue")
def databases_are_supported(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """PostgreSQL or SQLite."""
    engine = settings.DATABASES.get("default", {}).get("ENGINE", "")
    if engine and not engine.rsplit(".", 1)[-1].startswith(("postgresql", "sqlite3", "postgis")):
        hint = _("PostgreSQL in production, SQLite in development.")
        return [
            Error(_("%(engine)s is not supported.") % {"engine": engine}, hint=hint, id="psq.E008")
        ]
    return []
