"""How the demo project logs: lines for a terminal, or one JSON object per line for a collector."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured

FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest are the fields that its author gave it."""


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message, the record's own fields, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def config(environ: Mapping[str, str]) -> dict[str, Any]:
    """The setting LOGGING, from LOG_FORMAT (text, json) and LOG_LEVEL (that of the queue)."""
    chosen = _one_of(environ, "LOG_FORMAT", FORMATS, "text")
    level = _one_of(environ, "LOG_LEVEL", LEVELS, "WARNING")
    console = {"handlers": ["console"]}
    loggers = {
        # Django's own default says nothing of a broken page when DEBUG is off and nobody gets mail.
        "django": console | {"level": "INFO"},
        "plugspace_queue": console | {"level": level},
    }
    if chosen == "json":
        # These have handlers of their own otherwise, made for a terminal.
        own = console | {"level": "INFO"}
        loggers |= {"django.server": own, "rq.worker": own, "rq.worker_pool": own}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {"()": "project.logs.JsonFormatter"},
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": chosen}},
        "loggers": loggers,
    }


def _one_of(environ: Mapping[str, str], name: str, words: tuple[str, ...], default: str) -> str:
    wanted = environ.get(name, "").strip() or default
    for word in words:
        if wanted.lower() == word.lower():
            return word
    raise ImproperlyConfigured(f"{name}={wanted!r} is none of {', '.join(words)}.")
