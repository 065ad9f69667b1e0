"""Settings: one frozen dataclass, filled from `settings.PLUGSPACE_QUEUE`.

An unknown key is an error of `manage.py check`; `docs/settings.md` is written from this file.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from plugspace_queue import embedded_redis
from plugspace_queue.domain.rq_classes import OURS, with_our_classes
from plugspace_queue.domain.task_types import DECLARED
from plugspace_queue.domain.tenant import Tenant

__all__ = [
    "SENTINEL_CONNECTION",
    "AppSettings",
    "Tenant",
    "connection_config",
    "embedded_redis",
    "get_settings",
    "parse_sentinels",
    "rq_settings",
]

SETTING = "PLUGSPACE_QUEUE"
SENTINEL_CONNECTION = "plugspace_queue.broker.connection.SafeSentinelConnection"


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """Every key of `PLUGSPACE_QUEUE` in lower case, with its default."""

    key_prefix: str = "plugspace"
    """First segment of every Redis key that is ours."""

    concurrency: int | Mapping[str, int] = field(default_factory=dict)
    """Slots of one worker process: for every type, or per type, e.g. {"CODE": 8}."""

    max_retries: int = 3
    """Retries after the first run: with the default backoff after 2, 4 and 8 s."""

    backoff_delay: float = 2.0
    """Seconds before the first retry; each later one waits twice as long."""

    backoff_jitter: float = 0.0
    """Largest share added to a backoff by chance, 0 to 1."""

    retry_unknown_errors: bool = False
    """Retry exceptions that are not classified (`INTERNAL_ERROR`)."""

    max_deferrals: int = 20
    """Waits for a provider's 429 that burn no retry."""

    max_recoveries: int = 2
    """Worker deaths a task may survive before it fails with `WORKER_LOST`."""

    default_ttl: int = 3600
    """Seconds a task may wait for its first start before it expires."""

    timeout: float = 900.0
    """Seconds one attempt may run."""

    hard_stop: float = 5.0
    """Seconds between telling an attempt to stop and stopping it; a cancel tells a coroutine."""

    lease: float = 10.0
    """Seconds a worker's right to run an attempt lasts without renewal (3 or more)."""

    shutdown_grace: float = 30.0
    """Seconds running attempts get to finish after SIGTERM, the last HARD_STOP of them to stop."""

    max_memory: int = 0
    """MiB in memory above which a worker takes nothing more, finishes and ends (0: no limit)."""

    start_patience: float = 60.0
    """Seconds a starting worker waits for Redis and the database. Then one with `--burst` ends with
    1; others go on waiting, and one that only finds the memory of Redis full begins to free it."""

    rate_limit: Mapping[str, float] = field(default_factory=lambda: {"max": 100, "duration": 60.0})
    """Requests per window (seconds) of new tiers; afterwards their rows count."""

    max_prompt: int = 20_000
    """Longest prompt, in characters."""

    max_input: int = 256 * 1024
    """Largest input of a task with its caller's context, in bytes of JSON."""

    max_result: int = 4 * 1024 * 1024
    """Largest result of a task, in bytes of JSON."""

    max_log_lines: int = 1000
    """Log lines kept per attempt."""

    snapshot_limit: int = 32 * 1024
    """Inputs, contexts and results of more bytes of compact JSON (UTF-8) are left out of
    `plugspace:task:{id}`, of lists and of events, and `plugspace:result:{taskId}:{TYPE}` holds
    a note; `GET tasks/{id}/` has them."""

    result_ttl: int = 86_400
    """Seconds `plugspace:result:{taskId}:{TYPE}` and RQ's results stay in Redis."""

    payload_budget: int | None = 64 * 1024 * 1024
    """Bytes of inputs, contexts and results that one organization may have written to Redis in
    the last RESULT_TTL (0 or None: no limit). Above it copies and events are written without
    them, and `plugspace:result:{taskId}:{TYPE}` holds a note; SQL has them."""

    export_budget: int | None = 128 * 1024 * 1024
    """Bytes of exports that one organization may have in Redis at once (0 or None: no limit);
    one more is refused."""

    export_ttl: int = 3600
    """Seconds an export stays in Redis."""

    events_maxlen: int = 10_000
    """Events kept in the stream, about."""

    max_streams: int = 1000
    """Streams of events that one web process holds open; more are answered 503."""

    max_streams_per_organization: int = 250
    """Those of one organization among them; more are answered 429."""

    max_streams_per_key: int = 100
    """Those of one API key or signed-in user among them; more are answered 429."""

    streams_reserved: float = 0.1
    """Share of MAX_STREAMS, 0 to 1, kept for organizations that hold few: of this last part one
    gets at most a tenth, so that no organization takes all whatever the other limits are."""

    wait_threads: int = 4
    """Requests with `wait` that one process holds at once under a WSGI server, each in a thread;
    more are answered at once. Under ASGI they need no thread, and count as streams do."""

    tenant_of_request: str | None = None
    """Dotted path of a callable that tells of a Django request which organization sends it:
    `(request) -> plugspace_queue.conf.Tenant | None`. The API asks it after API keys and before
    sessions of members (docs/howto/tenants.md)."""

    catch_all: bool = False
    """Answer every unknown address below `api/v1/` with a problem; otherwise the project's other
    URLs have it, and its own 404."""

    in_host_schema: bool = False
    """Show our paths in the OpenAPI document of the project too; they have one of their own."""

    admin_site: str | None = None
    """Dotted path of an admin site of the project's own (an `AdminSite`): our pages are registered
    there too, and not only at Django's default site."""

    metrics_token: str = ""
    """Bearer token that opens `/metrics` to a scraper; staff see it without one."""

    org_tasks_maxlen: int = 1000
    """Ids kept in `plugspace:org:{orgId}:tasks`."""

    retention: Mapping[str, int] = field(
        default_factory=lambda: {
            "complete": 30 * 86_400,
            "failed": 90 * 86_400,
            "cancelled": 30 * 86_400,
            "expired": 30 * 86_400,
        }
    )
    """Seconds a final task is kept before `queue_prune` deletes it; a state left out is kept."""

    refund_on: tuple[str, ...] = ("WORKER_LOST",)
    """Error codes whose tasks are refunded."""

    catalogs: tuple[str, ...] = ("plugspace_queue.catalogs.plugspace",)
    """Modules that declare task types and come with no app, in order; () leaves out ours."""

    home_queue: str = ""
    """The queue whose Redis server has the keys of no queue (organizations, usage, workflows,
    events); empty: that of the first declared type. Moving it is like losing these keys: they
    are written anew from the rows."""

    queue_connection: str = ""
    """The entry of RQ_QUEUES whose connection the queues of task types without an entry of their
    own get; empty: the first entry that is ours, else the embedded server."""

    currency: str = "USD"
    """Currency of every cost."""

    relay_interval: float = 5.0
    """Seconds between two looks for tasks that a commit left unpublished."""

    embedded: bool = True
    """Start the bundled server on first use when no other Redis is configured."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "AppSettings":
        """The settings in a `PLUGSPACE_QUEUE` dict; ImproperlyConfigured names unknown keys."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(name for name in values if name.lower() not in known)
        if unknown:
            raise ImproperlyConfigured(
                f"{SETTING} has unknown keys: {', '.join(unknown)}. See docs/settings.md."
            )
        return cls(**{name.lower(): value for name, value in values.items()})


@functools.cache
def get_settings() -> AppSettings:
    """The settings in force; read again after `override_settings`."""
    return AppSettings.from_mapping(getattr(django_settings, SETTING, {}))


def unchecked(name: str) -> Any:
    """A setting while Django starts: the checks report later what is wrong with others."""
    values = getattr(django_settings, SETTING, {})
    given = values.get(name) if isinstance(values, Mapping) else None
    return getattr(AppSettings(), name.lower()) if given is None else given


def in_force(task_type: str, option: str, setting: str | None = None) -> Any:
    """What a task type declares for an option, else the setting (of the same name)."""
    kind = DECLARED.get(task_type)
    # A type that was dropped declares nothing.
    declared = None if kind is None else getattr(kind.declaration, option)
    return getattr(get_settings(), setting or option) if declared is None else declared


def _reload(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING:
        get_settings.cache_clear()


setting_changed.connect(_reload, dispatch_uid="plugspace_queue.conf")


SEED_TYPES = ("ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT")
"""The types of the default catalogue; settings are read before it can be imported."""

QUEUE_CLASSES: dict[str, Any] = {
    "QUEUE_CLASS": OURS["QUEUE_CLASS"],
    "SERIALIZER": "rq.serializers.JSONSerializer",
    "DEFAULT_TIMEOUT": 900,
}
"""What makes an entry of RQ_QUEUES ours, beside its connection."""


def rq_settings(
    url: str | None = None,
    sentinels: str | None = None,
    *,
    task_types: Iterable[str] = SEED_TYPES,
    base: Mapping[str, Mapping[str, Any]] | None = None,
    rq: Mapping[str, Any] | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """`RQ_QUEUES` and `RQ` for a host project's settings, with a queue for each of our types.

    `url` is a Redis URL; `sentinels` is `host:port,host:port/service`. Neither: the embedded
    server. `task_types` are names. Types that are not among them get the connection of the first
    one when Django starts. `base` and `rq` are the host's own dicts: its queues come back as they
    are, beside ours. Raises ImproperlyConfigured when `sentinels` cannot be read, or a queue of
    the host has the name of one of ours.
    """
    queues = {name: dict(entry) for name, entry in (base or {}).items()}
    entry = {**connection_config(url, sentinels), **QUEUE_CLASSES}
    for name in (task_type.lower() for task_type in task_types):
        if name in queues:
            raise ImproperlyConfigured(
                f"RQ_QUEUES has a queue {name!r} already; the task type {name.upper()} needs this"
                " name for its own. Rename one of them."
            )
        queues[name] = dict(entry)
    return queues, with_our_classes(rq)


def fill_queues(names: Iterable[str]) -> None:
    """Give each of these queues an entry in RQ_QUEUES, unless it has one."""
    queues = getattr(django_settings, "RQ_QUEUES", None)
    if queues is None:
        queues = django_settings.RQ_QUEUES = {}
    shared: dict[str, Any] | None = None
    for name in names:
        if name not in queues:
            shared = shared or {**_shared_connection(queues), **QUEUE_CLASSES}
            queues[name] = dict(shared)


def _shared_connection(queues: Mapping[str, Any]) -> dict[str, Any]:
    """The connection of the entry QUEUE_CONNECTION, else of the first that is ours."""
    named = unchecked("QUEUE_CONNECTION")
    if named and named not in queues:
        raise ImproperlyConfigured(
            f"{SETTING}['QUEUE_CONNECTION'] is {named!r}, which RQ_QUEUES does not have."
        )
    ours = (name for name, entry in queues.items() if is_ours(entry))
    source = named or next(ours, None)
    if source is None:
        return connection_config()
    return {key: value for key, value in queues[source].items() if key not in _OF_A_QUEUE}


def is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of RQ_QUEUES is a queue of ours, by the text of its class."""
    return bool(entry.get("QUEUE_CLASS") == QUEUE_CLASSES["QUEUE_CLASS"])


_OF_A_QUEUE = {*QUEUE_CLASSES, "ASYNC", "DEFAULT_RESULT_TTL"}
"""Keys of an entry that say nothing of its connection."""


def connection_config(url: str | None = None, sentinels: str | None = None) -> dict[str, Any]:
    """The connection part of a django-rq queue, for queues of the host project too."""
    if sentinels:
        hosts, service = parse_sentinels(sentinels)
        return {
            "SENTINELS": hosts,
            "MASTER_NAME": service,
            "DB": 0,
            "CONNECTION_KWARGS": {
                "socket_connect_timeout": 0.5,
                "connection_class": import_string(SENTINEL_CONNECTION),
            },
            "SENTINEL_KWARGS": {"socket_timeout": 0.5},
        }
    if url:
        return {"URL": url}
    return {"UNIX_SOCKET_PATH": embedded_redis.socket_path(), "DB": 0}


def parse_sentinels(text: str) -> tuple[list[tuple[str, int]], str]:
    """Hosts and service of `host:port,host:port/service`; an IPv6 host stands in brackets."""
    hosts, _, service = text.strip().partition("/")
    pairs = [_sentinel(entry) for entry in hosts.split(",")]
    if None in pairs or not service or set(service) & set("/ ,"):
        raise ImproperlyConfigured(
            "SENTINELS must read host:port,host:port/service (the service as Sentinel monitors it),"
            f" not {text!r}."
        )
    return [pair for pair in pairs if pair is not None], service


def _sentinel(text: str) -> tuple[str, int] | None:
    host, _, port = text.strip().rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if is_bracketed else host
    if not name or set(name) & set(" @[]") or (":" in name and not is_bracketed):
        return None
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
    return (name, int(port)) if is_port else None
