"""What the demo prints at its end: where to look."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.urls import reverse

from plugspace_queue import TaskType, queue_manager
from project.demo.environment import Credentials
from project.demo.web import HOST


def results(ids: Sequence[uuid.UUID]) -> dict[str, Any]:
    """Type → result of the finished steps."""
    tasks = map(queue_manager.get_task, ids)
    return {task.type: task.result for task in tasks}


def site_path(found: dict[str, Any]) -> str:
    """The URL path of the published site."""
    return str(found[TaskType.DEPLOY]["url"])


def where_to_look(
    port: int, credentials: Credentials, found: dict[str, Any], logs: Path
) -> Iterator[str]:
    """One line per place."""
    base = f"http://{HOST}:{port}"
    deployed, export = found[TaskType.DEPLOY], found[TaskType.EXPORT]
    yield f"  Site     {base}{site_path(found)}"
    root = Path(getattr(settings, "PLUGSPACE_SITES_ROOT", ""))
    yield f"           {_shown(root / deployed['path'] / found[TaskType.CODE]['entry'])}"
    login = f"user {credentials.login.user}, password {credentials.login.password}"
    yield f"  Admin    {base}{reverse('admin:index')}   {login}"
    yield f"  API      {base}/api/v1/   its pages: {base}/api/v1/docs/"
    yield f"  Logs     {_shown(logs)}/"
    yield "  Try      " + _curl(credentials.api_key, f"{base}/api/v1/tasks/?limit=5")
    download = _curl(credentials.api_key, f"{base}/api/v1/exports/{export['exportId']}/")
    yield f"  Export   {download} -o {export['filename']}"


def _curl(key: str, url: str) -> str:
    return f"curl -H 'Authorization: Bearer {key}' '{url}'"


def _shown(path: Path) -> Path:
    """Relative to the project where it lies in it."""
    base = Path(getattr(settings, "BASE_DIR", Path.cwd()))
    full = base / path
    return full.relative_to(base) if full.is_relative_to(base) else full
