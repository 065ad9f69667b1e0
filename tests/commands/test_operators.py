"""Commands of operators: keys, roles, pause, figures."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from plugspace_queue import queue_manager
from plugspace_queue.models import ApiKey, Organization, QueueSettings
from tests.api.conftest import ApiClient
from tests.factories import arguments, make_organization

pytestmark = pytest.mark.django_db


def run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_queue_key_prints_a_working_key_and_nothing_else_on_standard_output():
    make_organization("acme")

    key = run("queue_key", "acme", "--scope", "read", "--scope", "submit", "--days", "1").strip()

    assert key.startswith("psq_")
    assert ApiClient(headers={"Authorization": f"Bearer {key}"}).ask("tasks/").status_code == 200
    row = ApiKey.objects.get()
    assert row.scopes == ["read", "submit"]
    assert row.digest != key
    assert row.expires_at is not None


def test_queue_key_refuses_an_unknown_organization():
    with pytest.raises(CommandError, match="no organization 'nobody'"):
        run("queue_key", "nobody")


def test_queue_roles_makes_three_groups_and_may_be_repeated():
    run("queue_roles")
    run("queue_roles")

    def may(group: str) -> set[str]:
        names = Group.objects.get(name=group).permissions.values_list("codename", flat=True)
        return set(names)

    assert may("Queue viewer") < may("Queue operator") < may("Queue admin")
    assert "view_task" in may("Queue viewer")
    assert "operate_queue" not in may("Queue viewer")
    assert "administer_queue" in may("Queue admin") - may("Queue operator")


def test_queue_pause_and_resume_take_a_type_or_an_organization():
    make_organization("acme")

    run("queue_pause", "code")
    run("queue_pause", "--organization", "acme")
    assert QueueSettings.objects.get(pk="CODE").is_paused
    assert Organization.objects.get(pk="acme").is_paused

    run("queue_resume", "CODE")
    run("queue_resume", "--organization", "acme")
    assert not QueueSettings.objects.get(pk="CODE").is_paused
    assert not Organization.objects.get(pk="acme").is_paused


@pytest.mark.parametrize(
    "words",
    [(), ("paint",), ("code", "--organization", "acme"), ("--organization", "nobody")],
)
def test_queue_pause_refuses_what_it_cannot_pause(words: tuple[str, ...]):
    with pytest.raises(CommandError):
        run("queue_pause", *words)


def test_queue_stats_prints_one_line_a_queue_and_json_for_scripts():
    make_organization()
    queue_manager.add_task(**arguments())

    lines = run("queue_stats").splitlines()
    rows = json.loads(run("queue_stats", "--json"))

    assert lines[0].split() == ["type", "waiting", "active", "completed", "failed", "delayed"]
    assert lines[1].split() == ["ARCHITECT", "1", "0", "0", "0", "0"]
    assert [row["type"] for row in rows][1:3] == ["DESIGN", "CODE"]
    assert rows[0]["waiting"] == 1
