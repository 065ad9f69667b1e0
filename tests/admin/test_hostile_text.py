"""Whatever tenants write is text on every page of the admin, and nothing stands inline on ours."""

import json
import re
from typing import Any

import pytest
from django.db import models
from django.test import Client
from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Membership, MonthlyUsage, Task, UsageEntry, Workflow
from tests.admin.test_policy import HEADER
from tests.admin.test_roles import NOBODY, address, rows, table

__all__ = ["rows"]

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
SHORT = "'><b>"
# What is chosen from a list, checked for its letters, or made by us.
OURS = {"type", "month", "charged_month", "prefix", "digest", "fingerprint", "slug", "id", "scopes"}
INLINE = re.compile(
    r"<script(?![^>]*(\ssrc=|application/json))|<style|<[^>]*\s(on[a-z]+|style)=[\"']", re.I
)
ESCAPED = "&lt;script&gt;alert(1)"


def spoil(row: models.Model) -> set[str]:
    """Write the hostile text into each free field of a stored row; their names."""
    values = {}
    for field in row._meta.concrete_fields:
        if field.is_relation or field.choices or field.name in OURS or field.primary_key:
            continue
        if isinstance(field, models.JSONField):
            values[field.name] = hostile(field.name)
        elif isinstance(field, models.CharField | models.TextField):
            values[field.name] = TEXT if (field.max_length or 999) >= len(TEXT) else SHORT
    type(row)._base_manager.filter(pk=row.pk).update(**values)
    return set(values)


def hostile(name: str) -> Any:
    """JSON of the shape that the pages know, with the text for each word and each name."""
    entry = {"at": TEXT, "level": TEXT, "message": TEXT, TEXT: TEXT}
    if name in ("log", "history"):
        return [entry]
    return {"code": TEXT, "stack": TEXT, "stage": TEXT, "summary": [TEXT, entry], **entry}


@pytest.fixture
def spoilt(rows: dict[str, Any], redis: Redis) -> dict[str, Any]:
    """One row of each kind, all of them hostile, and what Redis keeps of a running task."""
    for model in (Task, Workflow, UsageEntry, MonthlyUsage, Membership):
        for row in model._default_manager.all():
            spoil(row)
    written = {name: spoil(row) for name, row in rows.items()}
    assert {"project_id", "user_id", "input", "context", "result", "error"} <= written["task"]
    assert {"log", "error", "worker_name"} <= written["attempt"]
    Task.objects.filter(pk=rows["task"].pk).update(state=State.PROCESSING)
    told = {"progress": {"percent": 1, "stage": TEXT, "message": TEXT}}
    redis.set(keys.task(str(rows["task"].pk)), json.dumps(told))
    redis.hset(f"rq:job:{rows['task'].pk}", mapping={"description": TEXT, "worker_name": TEXT})
    return rows


def test_text_of_tenants_is_never_markup(root: Client, spoilt: dict[str, Any]):
    escaped = 0
    for model, page, look, _ in table():
        where = address(model, page, spoilt)
        answer = root.get(where)
        if look == NOBODY or answer.status_code != 200:
            continue
        html = answer.content.decode()
        escaped += ESCAPED in html
        for bad in ("<script>alert", "<img src=x", SHORT):
            assert bad not in html, where

    # Else nothing hostile would have been shown at all.
    assert escaped > 10


def test_no_page_of_ours_has_anything_inline_nor_allows_it(root: Client, spoilt: dict[str, Any]):
    for model, page, look, _ in table():
        if model == "rq" or look == NOBODY:
            continue
        where = address(model, page, spoilt)
        answer = root.get(where)
        policy = answer.headers[HEADER]

        assert "unsafe" not in policy
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        found = INLINE.search(answer.content.decode())
        assert found is None, f"{where}: {found and found[0]}"
