"""Every way in which rows and Redis may differ is found, repaired, and then found no more."""

import json
from collections.abc import Callable

import pytest
from django.utils import timezone

from plugspace_queue import queue_manager
from plugspace_queue.broker import audit, keys, task_store
from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import new_id
from plugspace_queue.maintenance.reconcile.findings import Finding
from plugspace_queue.maintenance.reconcile.repair import repair
from plugspace_queue.models import Dependency, MonthlyUsage, QueueSettings, Task
from tests.broker.tools import entry
from tests.maintenance.scene import Scene, kinds_found, reconcile
from tests.support import alike

pytestmark = pytest.mark.usefixtures("scene", "no_long_looks")

Damage = Callable[[Scene], object]


@pytest.fixture
def no_long_looks(scene, settings):
    """The second look of the command comes one lease after the first, and it looks often here."""
    settings.PLUGSPACE_QUEUE = {"LEASE": 0.05}


def end(task: Task, state: State = State.COMPLETE) -> None:
    Task.objects.filter(pk=task.pk).update(state=state, completed_at=timezone.now())


def forget_entry(scene):
    scene.redis.hdel(keys.idx("code"), scene.id(0))


def forget_everything_about_one(scene):
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))


def swallow_wait(scene):
    scene.redis.lrem(keys.wait("code"), 1, scene.id(1))


def double_wait(scene):
    scene.redis.rpush(keys.wait("code"), scene.id(1))


def swallow_lane(scene):
    scene.redis.delete(scene.lane(0))


def thin_lane(scene):
    scene.redis.lrem(scene.lane(0), 1, scene.id(1))


def double_lane(scene):
    scene.redis.rpush(scene.lane(0), scene.id(0))


def leave_the_ring(scene):
    scene.redis.delete(keys.queue("code"))


def park_for_nothing(scene):
    scene.redis.zadd(keys.parked("code"), {"1:bolt": 1})
    scene.redis.zrem(keys.queue("code"), "1:bolt")


def park_and_serve(scene):
    scene.redis.zadd(keys.parked("code"), {"1:bolt": 1})


def queue_up_nobody(scene):
    scene.redis.zadd(keys.queue("code"), {"2:nobody": 1})


def change_the_row_alone(scene):
    Task.objects.filter(pk=scene.id(0)).update(priority=3)


def delete_the_job(scene):
    scene.redis.delete(f"rq:job:{scene.id(0)}")


def delete_a_delayed_job(scene):
    scene.redis.delete(f"rq:job:{scene.delayed.pk}")


def delay_what_waits(scene):
    scene.redis.zadd("rq:scheduled:code", {scene.id(0): scene.line.now_ms() / 1000 + 900})


def delay_for_longer(scene):
    scene.redis.zadd("rq:scheduled:code", {str(scene.delayed.pk): 2**33})


def forget_what_is_delayed(scene):
    scene.redis.delete("rq:scheduled:code")


def add_a_ghost(scene):
    scene.line.put([entry(str(new_id()))])


def add_a_delayed_ghost(scene):
    scene.line.put([entry(str(new_id()), due_ms=scene.line.now_ms() + 900_000)])


def end_what_waits(scene):
    end(scene.waiting[0], State.CANCELLED)


def end_what_runs(scene):
    end(scene.running)


def line_up_a_blocked_one(scene):
    scene.line.put([entry(str(scene.blocked.pk), band=scene.blocked.priority)])


def complete_parents_silently(scene):
    for link in Dependency.objects.filter(task=scene.blocked):
        end(link.parent)
        scene.line.run(task_store.withdraw(link.parent.type.lower(), [str(link.parent_id)]))


def fail_a_parent_silently(scene):
    end(scene.first_step, State.FAILED)
    scene.line.run(task_store.withdraw("architect", [str(scene.first_step.pk)]))


def forget_the_attempt(scene):
    task_id = str(scene.running.pk)
    scene.redis.hdel(keys.own("code"), task_id)
    scene.redis.lrem(keys.active("code"), 1, task_id)
    scene.redis.zrem(keys.lease("code"), task_id)
    scene.redis.delete(keys.running("code"), "rq:wip:code")


def hand_back_in_redis_alone(scene):
    scene.line.expire_lease(str(scene.running.pk))
    scene.line.tick(worker="w2", reap=True)


def let_the_lease_run_out(scene):
    scene.line.expire_lease(str(scene.running.pk), ms=60_000)


def forget_the_lease(scene):
    scene.redis.delete(keys.lease("code"))


def lease_to_nobody(scene):
    scene.redis.zadd(keys.lease("code"), {"nobody": 2**44})


def forget_active(scene):
    scene.redis.delete(keys.active("code"))


def double_active(scene):
    scene.redis.rpush(keys.active("code"), str(scene.running.pk), "nobody")


def forget_records(scene):
    scene.redis.delete("rq:wip:code")


def record_nobody(scene):
    scene.redis.zadd("rq:wip:code", {"nobody:1": 1})


def line_up_what_runs(scene):
    scene.redis.zadd("rq:scheduled:code", {str(scene.running.pk): 2**33})


def miscount(scene):
    scene.redis.hset(keys.running("code"), mapping={"acme": 7, "nobody": 1})


def open_a_gate(scene):
    scene.redis.hset(keys.meta("code"), "limiter", 9999)


def pause_somebody(scene):
    scene.redis.sadd(keys.paused_organizations(), "acme")


def count_too_little(scene):
    QueueSettings.objects.update_or_create(pk="CODE", defaults={"completed": 40, "failed": 2})


def forget_a_snapshot(scene):
    scene.redis.delete(keys.task(scene.id(0)), keys.task(str(scene.blocked.pk)))


def forget_the_snapshot_of_what_runs(scene):
    scene.redis.delete(keys.task(str(scene.running.pk)))


def garble(text: str | bytes) -> Damage:
    """Somebody's text in the place of snapshots: of what waits, runs, is delayed and blocked."""

    def write(scene):
        for task in (scene.waiting[0], scene.running, scene.delayed, scene.blocked):
            scene.redis.set(f"plugspace:task:{task.pk}", text)

    return write


def tell_of_another_task(scene):
    other = scene.redis.get(f"plugspace:task:{scene.id(2)}")
    scene.redis.set(f"plugspace:task:{scene.id(0)}", other)


def tell_of_another_organization(scene):
    text = scene.redis.get(f"plugspace:task:{scene.id(0)}")
    scene.redis.set(f"plugspace:task:{scene.id(0)}", text.replace(b'"acme"', b'"bolt"'))


def put_a_hash_in_its_place(scene):
    for task in (scene.waiting[0], scene.running, scene.blocked):
        scene.redis.delete(f"plugspace:task:{task.pk}")
        scene.redis.hset(f"plugspace:task:{task.pk}", "id", str(task.pk))


def cut_a_snapshot_short(scene):
    text = scene.redis.get(f"plugspace:task:{scene.id(0)}")
    scene.redis.set(f"plugspace:task:{scene.id(0)}", text[:-20])


def forget_the_workflow(scene):
    scene.redis.delete(keys.workflow(str(scene.workflow.workflow_id)))


def usage_key(scene):
    row = MonthlyUsage.objects.get(organization="acme", type="CODE")
    return keys.usage("acme", "CODE", row.month)


def forget_usage(scene):
    scene.redis.delete(usage_key(scene))


def change_usage(scene):
    scene.redis.set(usage_key(scene), 12345)


def forget_a_tier(scene):
    scene.redis.delete(keys.organization_tier("bolt"))


def forget_the_newest(scene):
    scene.redis.delete(keys.organization_tasks("acme"))


DAMAGE: list[tuple[Damage, set[str]]] = [
    # One of each kind of repair.
    (forget_entry, {"unpublished", "lane_strays", "wait_differs"}),
    (swallow_wait, {"torn", "wait_differs"}),
    (swallow_lane, {"not_in_lane", "lane_empty"}),
    (leave_the_ring, {"lane_off"}),
    (change_the_row_alone, {"wrong_lane"}),
    (delete_the_job, {"job_missing"}),
    (forget_what_is_delayed, {"unpublished"}),
    (add_a_ghost, {"ghost"}),
    (complete_parents_silently, {"hanging"}),
    (forget_the_attempt, {"attempt_lost"}),
    (let_the_lease_run_out, {"lease_ended"}),
    (miscount, {"running_count"}),
    (garble("not JSON"), {"snapshot_garbled"}),
    (forget_usage, {"usage_differs"}),
    # `make test` leaves these out.
    (forget_everything_about_one, {"unpublished"}),
    (double_wait, {"wait_differs"}),
    (thin_lane, {"not_in_lane"}),
    (double_lane, {"lane_strays"}),
    (park_for_nothing, {"lane_held"}),
    (park_and_serve, {"lane_doubled"}),
    (queue_up_nobody, {"lane_empty"}),
    (delete_a_delayed_job, {"job_missing"}),
    (delay_what_waits, {"doubled"}),
    (delay_for_longer, {"late"}),
    (add_a_delayed_ghost, {"ghost"}),
    (end_what_waits, {"ghost"}),
    (end_what_runs, {"ghost_running"}),
    (line_up_a_blocked_one, {"blocked_in_line"}),
    (fail_a_parent_silently, {"orphaned"}),
    (hand_back_in_redis_alone, {"processing_in_line"}),
    (forget_the_lease, {"lease_differs"}),
    (lease_to_nobody, {"lease_differs"}),
    (forget_active, {"active_differs"}),
    (double_active, {"active_differs"}),
    (forget_records, {"record_differs"}),
    (record_nobody, {"record_differs"}),
    (line_up_what_runs, {"runs_and_waits"}),
    (open_a_gate, {"gates_differ"}),
    (pause_somebody, {"pauses_differ"}),
    (count_too_little, {"lifetime_differs"}),
    (forget_a_snapshot, {"snapshot_missing"}),
    (forget_the_snapshot_of_what_runs, {"snapshot_missing"}),
    (garble(b"\xff\xfe\x00"), {"snapshot_garbled"}),
    (garble(""), {"snapshot_garbled"}),
    (garble("[1, 2]"), {"snapshot_garbled"}),
    (garble("{}"), {"snapshot_garbled"}),
    (garble("[" * 100_000), {"snapshot_garbled"}),
    (tell_of_another_task, {"snapshot_garbled"}),
    (tell_of_another_organization, {"snapshot_garbled"}),
    (put_a_hash_in_its_place, {"snapshot_garbled"}),
    (cut_a_snapshot_short, {"snapshot_garbled"}),
    (forget_the_workflow, {"workflow_missing"}),
    (change_usage, {"usage_differs"}),
    (forget_a_tier, {"tier_differs"}),
    (forget_the_newest, {"newest_missing"}),
]


@pytest.mark.parametrize(("damage", "kinds"), alike(DAMAGE, quick=14))
def test_damage_is_found_repaired_and_gone(scene, damage, kinds):
    damage(scene)

    found = kinds_found()
    code, told = reconcile("--fix")
    scene.renew()

    assert found >= kinds
    assert code == 0
    assert {one["kind"] for one in told["repaired"]} >= kinds
    assert kinds_found() == set()
    scene.line.check()


@pytest.mark.parametrize("text", alike(["not JSON", b"\xff", "[1]", "{}", '{"steps": 7}'], quick=1))
def test_a_copy_of_an_ended_task_that_is_no_copy_is_rewritten(scene, text):
    queue_manager.cancel(scene.delayed.pk)
    queue_manager.cancel_workflow(scene.workflow.workflow_id)
    workflow = f"plugspace:workflow:{scene.workflow.workflow_id}"
    for key in (f"plugspace:task:{scene.delayed.pk}", workflow):
        scene.redis.set(key, text)

    assert kinds_found() >= {"snapshot_differs", "workflow_differs"}
    assert reconcile("--fix")[0] == 0

    assert kinds_found() == set()
    told = json.loads(scene.redis.get(f"plugspace:task:{scene.delayed.pk}"))
    assert (told["id"], told["state"]) == (str(scene.delayed.pk), "cancelled")


def test_a_garbled_snapshot_is_the_rows_task_again(scene):
    garble("not JSON")(scene)

    reconcile("--fix")

    for task in (scene.waiting[0], scene.running, scene.delayed, scene.blocked):
        told = json.loads(scene.redis.get(f"plugspace:task:{task.pk}"))
        row = Task.objects.get(pk=task.pk)
        assert (told["id"], told["state"], told["input"]) == (str(row.pk), row.state, row.input)


def test_the_progress_of_a_lost_attempt_is_removed(scene):
    progress = {"percent": 70.0, "stage": "late"}
    Task.objects.filter(pk=scene.running.pk).update(progress=progress)
    forget_the_attempt(scene)

    reconcile("--fix")

    row = Task.objects.get(pk=scene.running.pk)
    assert (row.state, row.progress) == ("waiting", None)
    assert "progress" not in json.loads(scene.redis.get(f"plugspace:task:{row.pk}"))


def test_wait_is_rebuilt_once_for_any_number_of_findings(scene, monkeypatch):
    calls = []
    rebuild = audit.rebuild
    monkeypatch.setattr(audit, "rebuild", lambda *a, **k: calls.append(k) or rebuild(*a, **k))
    torn = [Finding("torn", "CODE", str(new_id())) for _ in range(250)]

    assert repair([*torn, Finding("wait_differs", "CODE", "code")], timezone.now()) == 251

    assert calls == [{"wait": True}]


def test_lanes_are_rebuilt_without_wait(scene, monkeypatch):
    calls = []
    rebuild = audit.rebuild
    monkeypatch.setattr(audit, "rebuild", lambda *a, **k: calls.append(k) or rebuild(*a, **k))

    repair([Finding("lane_off", "CODE", "1:acme")] * 2, timezone.now())

    assert calls == [{"lanes": ["1:acme"]}]
