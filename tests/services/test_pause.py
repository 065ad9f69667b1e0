"""Pausing: the gate in Redis shuts, and the ttl of what waits stands still."""

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from plugspace_queue import errors, queue_manager
from plugspace_queue.broker import keys
from plugspace_queue.limits import policies
from plugspace_queue.models import Organization, QueueSettings, Task, TierPolicy
from plugspace_queue.services.queues import extend_deadlines
from tests.factories import arguments, make_organization, make_task

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def test_a_paused_queue_is_paused_in_redis_until_it_is_resumed(redis):
    queue_manager.pause("CODE")
    assert redis.hget(keys.meta("code"), "paused") == b"1"
    assert QueueSettings.objects.get(type="CODE").is_paused

    queue_manager.resume("CODE")

    assert redis.hget(keys.meta("code"), "paused") in (b"0", b"", None)
    assert QueueSettings.objects.get(type="CODE").paused_at is None


def test_a_paused_organizations_lanes_are_held_in_every_queue(redis):
    make_organization()

    queue_manager.pause(organization_id="acme")
    assert redis.sismember(keys.paused_organizations(), "acme")
    queue_manager.resume(organization_id="acme")

    assert not redis.sismember(keys.paused_organizations(), "acme")


def test_pausing_twice_keeps_the_first_time():
    queue_manager.pause("CODE")
    since = QueueSettings.objects.get(type="CODE").paused_at

    queue_manager.pause("CODE")

    assert QueueSettings.objects.get(type="CODE").paused_at == since


def test_one_thing_is_paused_at_a_time():
    make_organization()

    for named in ({}, {"type": "CODE", "organization_id": "acme"}, {"type": "code"}):
        with pytest.raises(errors.ValidationRefused):
            queue_manager.pause(**named)
    with pytest.raises(errors.OrganizationUnknown):
        queue_manager.pause(organization_id="nobody")


def test_the_ttl_stands_still_while_a_queue_is_paused():
    now = timezone.now()
    before = make_task(ttl=3600, queued_at=now - 2 * HOUR, deadline=now - HOUR)
    other = make_task(type="CODE", ttl=3600, deadline=now - HOUR)
    queue_manager.pause("ARCHITECT")
    QueueSettings.objects.filter(type="ARCHITECT").update(paused_at=now - 1.5 * HOUR)

    queue_manager.resume("ARCHITECT")

    before.refresh_from_db()
    other.refresh_from_db()
    assert abs(before.deadline - (now + 0.5 * HOUR)) < timedelta(seconds=5)
    assert other.deadline == now - HOUR


def test_a_task_accepted_during_the_pause_has_its_whole_ttl_afterwards():
    now = timezone.now()
    task = make_task(ttl=3600, deadline=now + 0.5 * HOUR)

    extend_deadlines(Task.objects.all(), now - HOUR, now)

    task.refresh_from_db()
    assert task.deadline == now + HOUR


def test_a_task_for_later_and_a_started_one_are_not_touched():
    now = timezone.now()
    later = make_task(ttl=60, deadline=now + HOUR)
    started = make_task(ttl=60, deadline=None)

    extend_deadlines(Task.objects.all(), now - HOUR, now)

    later.refresh_from_db()
    started.refresh_from_db()
    assert later.deadline == now + HOUR
    assert started.deadline is None


def test_two_overlapping_pauses_are_counted_once():
    now = timezone.now()
    organization = make_organization()
    task = make_task(ttl=3600, deadline=now - HOUR)
    queue_manager.pause("ARCHITECT")
    queue_manager.pause(organization_id="acme")
    QueueSettings.objects.filter(type="ARCHITECT").update(paused_at=now - 1.5 * HOUR)
    Organization.objects.filter(pk=organization.pk).update(paused_at=now - HOUR)

    queue_manager.resume("ARCHITECT")
    task.refresh_from_db()
    assert abs(task.deadline - (now - 0.5 * HOUR)) < timedelta(seconds=5)
    queue_manager.resume(organization_id="acme")

    task.refresh_from_db()
    assert abs(task.deadline - (now + 0.5 * HOUR)) < timedelta(seconds=5)


def test_tasks_are_accepted_while_their_queue_is_paused():
    make_organization()
    queue_manager.pause("ARCHITECT")

    assert queue_manager.add_task(**arguments())


def test_a_pause_is_not_lost_to_a_read_of_settings_that_was_under_way(redis, monkeypatch):
    read, go = threading.Event(), threading.Event()
    real = TierPolicy.objects.all

    def slow(*args, **options):
        if threading.current_thread().name == "reader" and not read.is_set():
            read.set()
            go.wait(5)
        return real(*args, **options)

    def look():
        policies.queue_settings("CODE")
        connections.close_all()

    policies.clear_cache()
    monkeypatch.setattr(TierPolicy.objects, "all", slow)
    reader = threading.Thread(target=look, name="reader")
    reader.start()
    read.wait(5)

    queue_manager.pause("CODE")
    go.set()
    reader.join()

    assert redis.hget(keys.meta("code"), "paused") == b"1"
    assert policies.queue_settings("CODE").is_paused


def test_every_save_of_a_queue_has_a_higher_version():
    row = QueueSettings.objects.get(type="CODE")
    row.save()
    first = QueueSettings.objects.get(type="CODE").version
    queue_manager.pause("CODE")
    second = QueueSettings.objects.get(type="CODE").version
    # It was read before the pause.
    row.save(update_fields=["limiter_max"])

    assert first < second < QueueSettings.objects.get(type="CODE").version
