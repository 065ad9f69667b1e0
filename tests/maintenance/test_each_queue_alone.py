"""A queue whose server is away, or whose data is damaged, keeps no other from being repaired."""

import io
import json
from contextlib import suppress

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from plugspace_queue.broker import keys, task_store
from plugspace_queue.errors import Unavailable
from plugspace_queue.maintenance.reconcile.runner import ReconcileRunner
from tests.maintenance.scene import kinds_found, reconcile
from tests.support import wait_until


@pytest.fixture
def damaged(scene, settings):
    """The server of CODE is away; Redis does not know a task of ARCHITECT."""
    scene.line.run(task_store.withdraw("architect", [str(scene.first_step.pk)]))
    away = settings.RQ_QUEUES["code"] | {"UNIX_SOCKET_PATH": "/nowhere/redis.sock"}
    settings.RQ_QUEUES = settings.RQ_QUEUES | {"code": away}
    return scene


def is_published(scene):
    return scene.redis.hexists(keys.idx("architect"), str(scene.first_step.pk))


def test_the_command_reports_the_other_queues_and_then_fails(damaged):
    out = io.StringIO()

    with pytest.raises(CommandError):
        call_command("queue_reconcile", "--json", stdout=out)

    answer = json.loads(out.getvalue())
    assert [(one["kind"], one["queue"]) for one in answer["findings"]] == [
        ("unpublished", "ARCHITECT")
    ]
    assert answer["places"]["ARCHITECT"]["unpublished"] == 1


def test_the_command_does_not_claim_that_all_is_well(damaged):
    out = io.StringIO()

    with pytest.raises(CommandError):
        call_command("queue_reconcile", "--fix", stdout=out)

    assert is_published(damaged)
    assert "unpublished  1" in out.getvalue()
    assert "exactly one place" not in out.getvalue()


def test_workers_repair_the_other_queues(damaged):
    runner = ReconcileRunner()

    def turn():
        with suppress(Unavailable):
            runner.turn(timezone.now())
        return is_published(damaged)

    wait_until(turn)


def test_a_paused_organization_that_is_no_name_is_found_and_removed(scene):
    scene.redis.sadd(keys.paused_organizations(), b"\xff\xfe")
    scene.redis.delete(keys.active("code"))

    assert kinds_found() == {"pauses_differ", "active_differs"}
    assert reconcile("--fix")[0] == 0
    scene.renew()

    assert not scene.redis.exists(keys.paused_organizations())
    assert kinds_found() == set()


@pytest.mark.parametrize("strange", ["bytes", "type"])
def test_an_epoch_that_is_no_time_stops_no_round(scene, strange):
    scene.redis.delete(keys.epoch())
    if strange == "bytes":
        scene.redis.set(keys.epoch(), b"\xff")
    else:
        scene.redis.sadd(keys.epoch(), "x")
    scene.redis.delete(keys.active("code"))
    runner = ReconcileRunner()

    wait_until(lambda: runner.turn(timezone.now()))

    assert scene.line.runs() == [str(scene.running.pk)]
