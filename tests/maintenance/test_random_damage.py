"""After random damage to Redis, one repair restores all invariants."""

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugspace_queue.broker import keys
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Task
from tests.broker.tools import texts
from tests.maintenance.scene import Scene, kinds_found, reconcile
from tests.maintenance.test_damage import DAMAGE

KEYS = ("", ":wait", ":active", ":idx", ":own", ":lease", ":running", ":parked", ":vt", ":meta")


def delete_a_key(scene: Scene, dice: random.Random) -> None:
    scene.redis.delete(keys.queue("code") + dice.choice(KEYS))


def delete_any_key(scene: Scene, dice: random.Random) -> None:
    scene.redis.delete(dice.choice(sorted(scene.redis.keys("*"))))


def drop_a_member(scene: Scene, dice: random.Random) -> None:
    key = keys.queue("code") + dice.choice([":idx", ":own"])
    if members := texts(scene.redis.hkeys(key)):
        scene.redis.hdel(key, dice.choice(sorted(members)))


def drop_an_entry(scene: Scene, dice: random.Random) -> None:
    key = dice.choice([scene.lane(0), scene.lane(2), keys.wait("code"), keys.active("code")])
    if entries := texts(scene.redis.lrange(key, 0, -1)):
        scene.redis.lrem(key, 1, dice.choice(entries))


def add_an_entry(scene: Scene, dice: random.Random) -> None:
    key = dice.choice([scene.lane(0), scene.lane(2), keys.wait("code"), keys.active("code")])
    entry = dice.choice([*(str(pk) for pk in Task.objects.values_list("pk", flat=True)), "nobody"])
    scene.redis.execute_command(dice.choice(["LPUSH", "RPUSH"]), key, entry)


def staged(scene: Scene, dice: random.Random) -> None:
    damage, _ = dice.choice(DAMAGE)
    damage(scene)


DAMAGES: list[Callable[[Scene, random.Random], None]] = [
    delete_a_key,
    delete_any_key,
    drop_a_member,
    drop_an_entry,
    add_an_entry,
    staged,
]


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    damages=st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=6), seed=st.integers(0, 2**32)
)
def test_after_a_repair_every_task_is_in_exactly_one_place(scene, damages, seed):
    scene.begin_anew()
    dice = random.Random(seed)
    for damage in damages:
        damage(scene, dice)

    _, told = reconcile("--fix")
    if Task.objects.filter(pk=scene.running.pk, state=State.PROCESSING).exists():
        # Without a lease its worker counts as dead, so the lease is renewed for the second repair.
        scene.renew()
    reconcile("--fix")

    assert kinds_found() == set(), told
    scene.line.check()
    _every_open_task_has_one_place()


def _every_open_task_has_one_place() -> None:
    _, told = reconcile()
    for kind, places in told["places"].items():
        assert places["unpublished"] == 0
        assert sum(places.values()) == Task.objects.filter(type=kind).open().count()
