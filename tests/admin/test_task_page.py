"""The page of one task: timeline, progress, viewers without secrets, buttons with a reason."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from plugspace_queue.broker import keys
from plugspace_queue.dashboards import timelines
from plugspace_queue.domain.enums import State
from plugspace_queue.models import Attempt, Task
from tests.admin.test_records import TASKS, rows_of
from tests.factories import make_task

pytestmark = pytest.mark.django_db

EVIL = "<script>alert(1)</script>"


def with_attempts(number: int, **fields: object) -> Task:
    now = timezone.now()
    task = make_task(queued_at=now - timedelta(seconds=100), **fields)
    for place in range(1, number + 1):
        start = task.queued_at + timedelta(seconds=10 * place)
        Attempt.objects.create(
            task=task,
            number=place,
            fence=place,
            worker_name=f"w{place}",
            started_at=start,
            ended_at=start + timedelta(seconds=5),
            outcome="retry",
            error={"code": "PROVIDER", "message": f"{EVIL} https://bob:hunter2@host/"},
            tokens_used=100,
            cost=Decimal("0.25"),
        )
    return task


def page_of(client: Client, task: Task, part: str = "change") -> str:
    return rows_of(client, f"{TASKS}{task.pk}/{part}/")


def test_the_timeline_tells_each_attempt_with_its_error_tokens_and_cost(root: Client):
    task = with_attempts(2, state=State.COMPLETE, tokens_used=200, cost=Decimal("0.5"))

    page = page_of(root, task)

    assert "accepted with priority 2" in page
    assert page.index("attempt 1 on w1, 5 s") < page.index("attempt 2 on w2, 5 s")
    assert "100 tokens, 0.25 USD" in page
    assert "200 tokens, 0.5 USD" in page
    assert "hunter2" not in page
    assert EVIL not in page
    assert "data-psq-over" in page


def test_bars_lie_where_the_attempts_were():
    task = with_attempts(2)
    now = task.queued_at + timedelta(seconds=100)

    bars = timelines.timeline(task, now).bars

    assert [(bar.x, bar.width) for bar in bars] == [(100, 50), (200, 50)]


def test_of_very_many_attempts_the_newest_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timelines, "MOST", 2)

    found = timelines.timeline(with_attempts(3))

    assert found.is_cut
    assert [m.attempt.number for m in found.moments if m.attempt] == [2, 3]


def test_a_part_of_the_page_costs_a_fixed_number_of_queries(root: Client):
    costs = []
    for number in (1, 8):
        task = with_attempts(number)
        with CaptureQueriesContext(connection) as asked:
            page_of(root, task, "live")
        costs.append(len(asked))
        assert not [q for q in asked if '_attempt"."log"' in q["sql"]]

    # Explain reads the row anew, and again after its look at Redis.
    assert costs[0] == costs[1] <= 8


def test_progress_of_a_running_task_is_live(root: Client, redis: Redis):
    task = make_task(state=State.PROCESSING, started_at=timezone.now(), worker_name="w1")
    told = {"progress": {"percent": 42.5, "stage": EVIL}}
    redis.set(keys.task(str(task.pk)), json.dumps(told))

    page = page_of(root, task, "live")

    assert 'value="42.5"' in page
    assert "&lt;script&gt;" in page
    assert EVIL not in page
    assert "running on w1" in page


@pytest.mark.parametrize("text", ["[1]", "{", '{"progress": 7}', '{"progress": {"percent": "x"}}'])
def test_a_snapshot_that_makes_no_sense_breaks_no_page(root: Client, redis: Redis, text: str):
    task = make_task(state=State.PROCESSING, started_at=timezone.now())
    redis.set(keys.task(str(task.pk)), text)

    assert "<progress" not in page_of(root, task)


def test_secrets_of_input_result_and_error_are_not_shown(root: Client):
    task = make_task(
        state=State.FAILED,
        input={"deep": [{"api_key": "hunter2", "tokens": ["fine"]}], "url": "redis://a:hunter2@h"},
        result={"accessToken": "hunter2"},
        error={"code": "X", "message": "m", "Authorization": "Bearer hunter2hunter2"},
        context={"password": "hunter2"},
    )

    page = page_of(root, task)

    assert "hunter2" not in page
    assert "fine" in page
    task.refresh_from_db()
    assert task.result == {"accessToken": "hunter2"}


def test_very_long_json_is_cut_and_says_so(root: Client):
    task = make_task(input={"prompt": "x" * 300_000})

    page = page_of(root, task)

    assert "more characters; the API returns the whole value" in page
    assert len(page) < 300_000


HOSTILE = {
    "scheme": "a-" * 30_000,
    "address": "a://:" * 12_000,
    "bearer": "Bearer" + " " * 60_000,
    "bearers": "Bearer " * 9_000,
    "capitals": "A" * 60_000 + "a",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_that_is_made_to_be_slow_does_not_hold_up_the_page(root: Client, text: str):
    spent = time.process_time()

    page = page_of(root, make_task(input={"prompt": text, text: [text]}, error={"message": text}))

    # Processor time: it was more than a minute, and is the same on a busy machine.
    assert time.process_time() - spent < 10
    assert text[:1_000] in page


@pytest.mark.parametrize("secret", ["https://bob:hunter2hunter2@host/", "Bearer hunter2hunter2"])
def test_a_secret_that_stands_where_long_text_is_cut_is_not_shown(root: Client, secret: str):
    for place in range(199_960, 200_000, 5):
        task = make_task(input={"prompt": "x " * (place // 2) + secret + " x" * 1_000})

        assert "hunter" not in page_of(root, task)


def test_deep_json_is_cut_where_its_indents_would_make_it_long(root: Client):
    deep: list[object] = [1] * 40_000
    for _ in range(200):
        deep = [deep]

    assert len(page_of(root, make_task(result={"deep": deep}))) < 300_000


def test_a_button_takes_a_reason_into_the_audit(operator: Client):
    task = make_task()
    page = page_of(operator, task)

    assert f'action="{TASKS}{task.pk}/cancel/"' in page
    operator.post(f"{TASKS}{task.pk}/cancel/", {"reason": "ordered twice"})

    assert Task.objects.get(pk=task.pk).state == State.CANCELLED
    said = "Cancelled, or asked to stop: ordered twice"
    assert LogEntry.objects.get(object_id=str(task.pk)).change_message == said


def test_a_viewer_sees_the_page_without_buttons(signed_in: Callable[[str], Client]):
    viewer, task = signed_in("viewer"), make_task()

    assert "/cancel/" not in page_of(viewer, task)
    for verb in ("cancel", "retry"):
        assert viewer.post(f"{TASKS}{task.pk}/{verb}/", {"reason": "x"}).status_code == 403
    assert signed_in("").get(f"{TASKS}{task.pk}/live/").status_code == 403


def test_the_part_of_a_task_that_is_gone_is_not_there(root: Client):
    for name in ("x", "0190a8a0-0000-7000-8000-000000000000"):
        assert root.get(f"{TASKS}{name}/live/").status_code == 404
