"""What an operator sees of queue_reconcile."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue.broker import keys, task_store
from plugspace_queue.maintenance.reconcile import reading
from plugspace_queue.models import Task
from tests.maintenance.scene import kinds_found, reconcile


def typed(*words: str) -> str:
    out = io.StringIO()
    call_command("queue_reconcile", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_every_task_of_a_sound_site_is_in_exactly_one_place(scene):
    code, told = reconcile()

    assert code == 0
    assert told["findings"] == []
    assert told["places"]["CODE"] == {
        "blocked": 1,
        "delayed": 1,
        "waiting": 3,
        "running": 1,
        "unpublished": 0,
    }
    assert sum(told["places"]["ARCHITECT"].values()) == 1


def test_the_table_names_what_was_found_and_its_repair(scene):
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))
    out = io.StringIO()

    with pytest.raises(SystemExit) as end:
        call_command("queue_reconcile", "--check", stdout=out, stderr=io.StringIO())

    assert end.value.code == 1
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["type", "blocked", "delayed", "waiting", "running", "unpublished"]
    assert lines[3].split() == ["CODE", "1", "1", "2", "1", "1"]
    assert "unpublished  1: waits, but Redis does not know it → published" in out.getvalue()
    assert scene.id(0) in out.getvalue()


def test_a_check_changes_nothing(scene):
    scene.redis.delete(keys.active("code"), scene.lane(0), keys.organization_tier("acme"))
    before = {key: scene.redis.dump(key) for key in scene.redis.keys("plugspace:code*")}

    kinds_found()

    assert {key: scene.redis.dump(key) for key in scene.redis.keys("plugspace:code*")} == before
    assert not scene.redis.exists(keys.organization_tier("acme"))


def test_what_heals_within_a_lease_is_no_finding(scene, monkeypatch):
    """As a task whose end is committed and whose settle is under way."""
    Task.objects.filter(pk=scene.running.pk).update(state="waiting")
    scene.line.expire_lease(str(scene.running.pk))

    def heal(seconds: float) -> None:
        scene.line.tick(worker="w2", reap=True)

    monkeypatch.setattr("plugspace_queue.management.commands.queue_reconcile.time.sleep", heal)

    assert kinds_found() == set()


def test_one_queue_is_looked_at_alone(scene):
    scene.redis.delete(keys.active("code"))

    assert kinds_found("--queue", "design") == set()
    assert kinds_found("--queue", "code") == {"active_differs"}
    with pytest.raises(CommandError, match="--queue is one of ARCHITECT"):
        typed("--queue", "paint")


def test_check_and_fix_exclude_each_other():
    with pytest.raises(CommandError, match="not allowed with"):
        typed("--check", "--fix")


def test_without_redis_it_says_so(scene, settings):
    settings.RQ_QUEUES = {
        name: config | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
        for name, config in settings.RQ_QUEUES.items()
    }

    with pytest.raises(CommandError):
        typed("--check")


def test_inputs_and_results_of_tasks_are_not_read(scene):
    with CaptureQueriesContext(connection) as queries:
        findings = [f for look in reading.everywhere(timezone.now()) for f in look.findings]

    assert findings == []
    assert not [one["sql"] for one in queries if '"plugspace_queue_task"."input"' in one["sql"]]
