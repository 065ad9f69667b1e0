"""Whole stories in a browser, with real workers behind: fail and mend, pause and resume."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from plugspace_queue import errors
from plugspace_queue.dashboards import queues
from plugspace_queue.domain.enums import Scope, State
from plugspace_queue.limits import policies
from plugspace_queue.models import ApiKey, Organization, Task
from tests.browser.conftest import Open
from tests.factories import make_organization
from tests.support import wait_until
from tests.worker.conftest import Register, crew, processors

__all__ = ["crew", "processors"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LIST = "/admin/plugspace_queue/task/"
QUEUE = "/admin/plugspace_queue/dashboard/code/"
SOON = 10_000

Submit = Callable[[Any], str]


class Provider:
    """What the processor calls: it waits for a word, and refuses until its key is renewed."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.has_new_key = threading.Event()

    def work(self, context: Any) -> dict[str, Any]:
        """The processor."""
        context.report_progress(40, stage="asking the model")
        assert self.may_go_on.wait(30)
        if not self.has_new_key.is_set():
            raise errors.AuthenticationFailed("The model refused the key.")
        return {"files": ["index.html"]}


@pytest.fixture
def acme(transactional_db: None, redis: Redis) -> Organization:
    policies.clear_cache()
    queues.clear_cache()
    return make_organization()


@pytest.fixture
def provider(acme: Organization, processors: Register) -> Iterator[Provider]:
    """A processor for CODE; whatever waits in it goes on at the end."""
    made = Provider()
    processors("CODE", made.work)
    yield made
    made.may_go_on.set()


@pytest.fixture
def submit(acme: Organization) -> Submit:
    """A task of CODE over the API, as a customer's program does it; its id."""
    _, secret = ApiKey.issue(acme, [Scope.SUBMIT.value])

    def post(page: Any) -> str:
        answer = page.request.post(
            "/api/v1/tasks/",
            data=json.dumps({"type": "CODE", "projectId": "site", "input": {}}),
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        )
        assert answer.status == 201, answer.text()
        return str(answer.json()["id"])

    return post


def task_page(task_id: str) -> str:
    return f"{LIST}{task_id}/change/"


def has_state(task_id: str, state: State) -> bool:
    return Task.objects.filter(pk=task_id, state=state).exists()


def test_a_failure_is_watched_understood_and_retried_in_bulk(
    opened: Open, complaints: list[str], provider: Provider, crew: Any, submit: Submit
):
    page = opened(LIST)
    first, *others = [submit(page) for _ in range(3)]
    crew("code")

    # It is watched.
    page.reload()
    page.get_by_role("link", name=first).click()
    page.wait_for_selector("text=40 %, asking the model", timeout=SOON)
    provider.may_go_on.set()

    # It fails before one's eyes, and the page says why and what helps.
    page.wait_for_selector("#psq-now .psq-failed", timeout=SOON)
    why = page.locator("#psq-why").inner_text()
    assert "It failed with AUTHENTICATION_ERROR: The model refused the key." in why
    assert "renew them, then retry" in why
    page.wait_for_selector("[data-psq-status]:text-is('Ended')", timeout=SOON)
    wait_until(lambda: all(has_state(other, State.FAILED) for other in others), 10)

    # The cause is mended; one is chosen on the list of the failed.
    provider.has_new_key.set()
    page.goto(f"{LIST}?state__exact=failed&type__exact=CODE")
    page.locator(f"input.action-select[value='{first}']").check()
    page.get_by_label("Action:").select_option("retry_chosen")
    page.get_by_role("button", name="Go").click()
    page.wait_for_selector(".messagelist >> text=1 of 1 queued for retry")

    # The rest by the filter, counted first.
    page.get_by_role("link", name="Retry all found").click()
    assert "2 tasks can be retried" in page.locator("#content-main").inner_text()
    page.get_by_label("Reason").fill("the key is renewed")
    page.get_by_role("button", name="Retry 2 tasks").click()
    page.wait_for_selector(".messagelist >> text=2 of 2 queued for retry: the key is renewed")

    page.goto(task_page(others[0]))
    page.wait_for_selector("#psq-now .psq-complete", timeout=SOON)
    wait_until(lambda: Task.objects.filter(state=State.COMPLETE).count() == 3, 10)
    assert complaints == []


def test_a_pause_is_read_on_the_task_and_ends_before_ones_eyes(
    opened: Open, complaints: list[str], provider: Provider, crew: Any, submit: Submit
):
    provider.may_go_on.set()
    provider.has_new_key.set()
    crew("code")
    operator = opened(QUEUE)
    operator.locator("#pause_reason").fill("the model is down")
    operator.get_by_role("button", name="Pause CODE").click()
    operator.wait_for_selector(".messagelist .success")

    task = submit(operator)
    watched = opened(task_page(task))
    why = watched.locator("#psq-why")
    assert "The queue code is paused." in why.inner_text()
    row = why.locator("tr", has_text="pause of the queue")
    assert row.locator(".psq-shut").count() == 1
    assert "when the queue is resumed" in row.inner_text()

    operator.locator("#pause_reason").fill("the model is back")
    operator.get_by_role("button", name="Resume CODE").click()

    watched.wait_for_selector("#psq-now .psq-complete", timeout=SOON)
    assert watched.locator("#psq-why").count() == 0
    assert complaints == []
