"""Reads the demo project's environment variables into Django's settings, or says what is wrong."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}

# One writer at a time, readers never wait for it, and a lost power line costs no consistency.
SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"


def flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    """The truth of one variable: 1/true/yes/on or 0/false/no/off, in any case."""
    text = environ.get(name, str(default)).strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ImproperlyConfigured(f"{name}={text!r} is neither true nor false: use 1 or 0.")


def number(environ: Mapping[str, str], name: str) -> int:
    """The whole number of one variable, from 0; 0 when it is not set."""
    text = environ.get(name, "").strip() or "0"
    if text.isascii() and text.isdigit():
        return int(text)
    raise ImproperlyConfigured(f"{name}={text!r} is no whole number from 0.")


def words(environ: Mapping[str, str], name: str) -> list[str]:
    """The comma-separated words of one variable, without empty ones."""
    return [word.strip() for word in environ.get(name, "").split(",") if word.strip()]


def database(url: str) -> dict[str, Any]:
    """An entry of DATABASES from `sqlite:///path` or `postgres://user:password@host:port/name`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(parts)
    if parts.scheme in {"postgres", "postgresql"}:
        return _postgres(parts)
    raise ImproperlyConfigured(
        f"DATABASE_URL has the scheme {parts.scheme!r}: use sqlite:///path/to/file or "
        "postgres://user:password@host:port/name."
    )


def _sqlite(parts: SplitResult) -> dict[str, Any]:
    # The first slash ends the (empty) host: sqlite:///a.db is relative, sqlite:////a.db absolute.
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or path == ":memory:":
        raise ImproperlyConfigured(
            "DATABASE_URL must name a file that web and workers share: sqlite:///path/to/file "
            "(four slashes for an absolute path)."
        )
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": SQLITE_PRAGMAS,
        },
        # A file as well: the tests' threads and processes are real ones.
        "TEST": {"NAME": f"{path}.test"},
    }


def _postgres(parts: SplitResult) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    name = unquote(parts.path.removeprefix("/"))
    if not name:
        raise ImproperlyConfigured("DATABASE_URL names no database: postgres://host/NAME.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or unquote(parts.hostname or ""),
        "PORT": options.pop("port", None) or _port(parts),
        "CONN_MAX_AGE": int(options.pop("conn_max_age", 0)),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": _typed(options),
    }


def _port(parts: SplitResult) -> str:
    try:
        return str(parts.port or "")
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}.") from error


def _typed(options: dict[str, Any]) -> dict[str, Any]:
    # PostgreSQL plans a statement anew each time unless it may keep it: a quarter of its work here.
    kept = number({"prepare_threshold": "5"} | options, "prepare_threshold")
    typed = options | {"prepare_threshold": kept or None}
    return typed | ({"pool": flag(options, "pool", default=False)} if "pool" in options else {})
