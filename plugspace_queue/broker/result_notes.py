"""The note that replaces a result which is not stored in Redis; it says where the result is."""

import functools
import uuid

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch

from plugspace_queue.domain import json_text
from plugspace_queue.domain.addresses import address

TEXT = "This result is not kept in Redis; the address has it."
TASK = uuid.UUID(int=0)
DEFAULT_PATH = f"/api/v1/tasks/{TASK}/"


def result_note() -> str:
    """JSON of the note as a Lua format string, with `%s` twice for the task's id."""
    return _note(settings.ROOT_URLCONF)


@functools.cache
def _note(urlconf: str) -> str:
    note = {"note": TEXT, "taskId": str(TASK), "path": _path(urlconf)}
    return json_text.encode(note).replace("%", "%%").replace(str(TASK), "%s")


def _path(urlconf: str) -> str:
    try:
        return address("task", TASK, urlconf=urlconf)
    except (NoReverseMatch, ImportError, ImproperlyConfigured):
        # A worker may run without the URL configuration of its project's site.
        return DEFAULT_PATH
