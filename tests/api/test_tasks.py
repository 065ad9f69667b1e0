"""Tasks over HTTP: what is sent, what comes back, page by page."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from plugspace_queue.domain.enums import State
from plugspace_queue.domain.ids import first_id, new_id
from plugspace_queue.models import Task
from tests.api.conftest import ApiClient
from tests.factories import make_organization, make_task

pytestmark = pytest.mark.django_db

NEW = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "A bakery"}}


def test_a_submitted_task_comes_back_as_the_documented_agent_task(acme: ApiClient):
    response = acme.send("tasks/", NEW | {"ttl": 60, "context": {"maxIterations": 3}})
    told = response.json()

    assert response.status_code == 201
    assert response["Location"] == f"/api/v1/tasks/{told['id']}/"
    assert (told["type"], told["projectId"], told["status"]) == ("ARCHITECT", "site", "pending")
    assert (told["retryCount"], told["maxRetries"], told["ttl"]) == (0, 3, 60)
    assert told["context"]["maxIterations"] == 3
    assert told["metrics"]["queuedAt"].endswith("Z")
    assert acme.ask(f"tasks/{told['id']}/").json() == told


def test_a_repeated_submit_with_the_same_key_is_done_once_and_answers_200(acme: ApiClient):
    first = acme.send("tasks/", NEW, **{"Idempotency-Key": "k1"})
    again = acme.send("tasks/", NEW, **{"Idempotency-Key": "k1"})
    other = acme.send("tasks/", NEW | {"projectId": "x"}, **{"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert other.json()["taskId"] == first.json()["id"]
    assert Task.objects.count() == 1


def test_a_task_with_a_run_time_waits_for_it(acme: ApiClient):
    tomorrow = timezone.now() + timedelta(days=1)

    told = acme.send("tasks/", NEW | {"runAt": tomorrow.isoformat()}).json()

    assert told["state"] == "scheduled"
    assert datetime.fromisoformat(told["runAt"]) == tomorrow


def test_a_bulk_is_stored_whole_or_not_at_all(acme: ApiClient):
    good = {"tasks": [NEW, NEW | {"type": "CODE", "input": {}}]}
    bad = {"tasks": [NEW, NEW | {"input": {}}]}

    stored = acme.send("tasks/bulk/", good)
    refused = acme.send("tasks/bulk/", bad)

    assert stored.status_code == 201
    assert [task["type"] for task in stored.json()["results"]] == ["ARCHITECT", "CODE"]
    assert (refused.status_code, refused.json()["index"]) == (400, 1)
    assert Task.objects.count() == 2


def test_a_repeated_bulk_with_the_same_key_is_done_once(acme: ApiClient):
    told = [
        acme.send("tasks/bulk/", {"tasks": [NEW, NEW]}, **{"Idempotency-Key": "b"})
        for _ in range(2)
    ]

    assert [response.status_code for response in told] == [201, 200]
    assert told[0].json() == told[1].json()
    assert Task.objects.count() == 2


OTHER = NEW | {"projectId": "other"}


@pytest.mark.parametrize(
    "changed",
    [[NEW], [NEW, OTHER, NEW], [OTHER, NEW], [NEW, NEW | {"ttl": 5}]],
    ids=["fewer", "more", "another order", "another item"],
)
def test_a_changed_bulk_under_a_used_key_is_a_conflict(acme: ApiClient, changed: list[Any]):
    acme.send("tasks/bulk/", {"tasks": [NEW, OTHER]}, **{"Idempotency-Key": "b"})

    told = acme.send("tasks/bulk/", {"tasks": changed}, **{"Idempotency-Key": "b"})

    assert (told.status_code, told.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert Task.objects.count() == 2


def test_items_with_keys_of_their_own_are_told_apart_by_them(acme: ApiClient):
    one, two, three = (NEW | {"idempotencyKey": f"k{number}"} for number in range(3))

    told = [acme.send("tasks/bulk/", {"tasks": tasks}) for tasks in ([one, two], [two, one])]
    mixed = acme.send("tasks/bulk/", {"tasks": [one, three]})

    assert [response.status_code for response in (*told, mixed)] == [201, 200, 201]
    assert told[0].json()["results"] == told[1].json()["results"][::-1]
    assert Task.objects.count() == 3


def test_a_bulk_has_one_key_or_its_items_have_theirs(acme: ApiClient):
    keyed = {"tasks": [NEW, NEW | {"idempotencyKey": "k"}]}

    response = acme.send("tasks/bulk/", keyed, **{"Idempotency-Key": "b"})

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert response.json()["index"] == 1
    assert not Task.objects.exists()


def walk(client: ApiClient, path: str) -> tuple[list[str], list[dict[str, Any]]]:
    pages, ids = [], []
    address: str | None = f"/api/v1/{path}"
    while address:
        pages.append(client.get(address).json())
        ids += [row["id"] for row in pages[-1]["results"]]
        address = pages[-1]["next"]
    return ids, pages


@pytest.mark.parametrize("start", ["tasks/?limit=3", "tasks/?limit=3&offset=0"])
def test_following_next_sees_every_task_once_the_newest_first(acme: ApiClient, start: str):
    tasks = [make_task() for _ in range(8)]

    ids, pages = walk(acme, start)

    assert ids == [str(task.pk) for task in reversed(tasks)]
    assert pages[0]["previous"] is None
    back = acme.get(pages[-1]["previous"]).json()
    assert [row["id"] for row in back["results"]] == ids[3:6]


def test_the_oldest_come_first_when_asked_page_by_page_and_back(acme: ApiClient):
    tasks = [str(make_task().pk) for _ in range(5)]

    ids, pages = walk(acme, "tasks/?limit=2&order=oldest")

    assert ids == tasks
    assert pages[0]["previous"] is None
    back = acme.get(pages[-1]["previous"]).json()
    assert [row["id"] for row in back["results"]] == tasks[2:4]
    assert acme.get(back["previous"]).json()["previous"] is None
    assert walk(acme, "tasks/?limit=2&order=oldest&offset=0")[0] == tasks


def test_a_list_of_a_time_is_found_by_its_ids(acme: ApiClient):
    early, late = make_task(), make_task(id=new_id_at(timezone.now() + timedelta(hours=2)))
    noon = (timezone.now() + timedelta(hours=1)).isoformat()

    def ids(**query: str) -> list[str]:
        return [row["id"] for row in acme.ask("tasks/", **query).json()["results"]]

    assert ids(createdAfter=noon) == [str(late.pk)]
    assert ids(createdBefore=noon) == [str(early.pk)]
    assert ids(createdAfter="0001-01-01T00:00:00Z", createdBefore="9999-12-31T00:00:00Z") == [
        str(late.pk),
        str(early.pk),
    ]
    for wrong in ("yesterday", "0.5", "1767225600", "2026-01-01T00:00:00"):
        assert acme.ask("tasks/", createdAfter=wrong).status_code == 400


def new_id_at(moment: datetime) -> UUID:
    return UUID(int=first_id(moment).int | new_id().int & ((1 << 64) - 1))


def test_a_page_by_cursor_is_not_disturbed_by_new_tasks(acme: ApiClient):
    old = [make_task() for _ in range(4)]
    page = acme.ask("tasks/", limit=2).json()
    make_task()

    following = acme.get(page["next"]).json()

    assert [row["id"] for row in following["results"]] == [str(old[1].pk), str(old[0].pk)]


def test_filters_narrow_the_list(acme: ApiClient):
    failed = make_task(state=State.FAILED, project_id="other")
    expired = make_task(state=State.EXPIRED)
    code = make_task(type="CODE")

    def ids(**query: str) -> set[str]:
        return {row["id"] for row in acme.ask("tasks/", **query).json()["results"]}

    assert ids(status="failed") == {str(failed.pk), str(expired.pk)}
    assert ids(state="expired") == {str(expired.pk)}
    assert ids(type="CODE") == {str(code.pk)}
    assert ids(projectId="other") == {str(failed.pk)}
    assert ids(workflowId=str(uuid4())) == set()


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"offset": "10001"},
        {"offset": "1", "cursor": "before.x"},
        {"cursor": "sideways"},
        {"state": "asleep"},
        {"organisation": "acme"},
        {"order": "random"},
    ],
)
def test_a_query_that_means_nothing_is_refused(acme: ApiClient, query: dict[str, str]):
    response = acme.ask("tasks/", **query)

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")


def test_a_list_leaves_large_inputs_out_and_the_task_itself_has_them(acme: ApiClient):
    task = make_task(input={"prompt": "x" * 40_000})

    row = acme.ask("tasks/").json()["results"][0]
    whole = acme.ask(f"tasks/{task.pk}/").json()

    assert (row["input"], row["inputOmitted"]) == (None, True)
    assert len(whole["input"]["prompt"]) == 40_000


def test_a_list_costs_the_same_queries_whatever_its_length(acme: ApiClient):
    acme.ask("tasks/")  # notes the use of the key
    counts = []
    for _ in range(2):
        for _ in range(10):
            make_task()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            acme.ask("tasks/", limit=100)
        counts.append(len(queries))
        assert not [q for q in queries.captured_queries if "COUNT(" in q["sql"]]

    assert counts == [2, 2]


def test_cancel_of_a_waiting_task_ends_it(acme: ApiClient):
    told = acme.send("tasks/", NEW).json()

    response = acme.send(f"tasks/{told['id']}/cancel/")

    assert response.status_code == 200
    assert response.json() == {"id": told["id"], "state": "cancelled", "status": "failed"}
    again = acme.send(f"tasks/{told['id']}/cancel/")
    assert (again.status_code, again.json()["code"]) == (409, "INVALID_STATE")


def test_retry_of_a_cancelled_task_makes_it_wait_again(acme: ApiClient):
    told = acme.send("tasks/", NEW).json()
    acme.send(f"tasks/{told['id']}/cancel/")

    response = acme.send(f"tasks/{told['id']}/retry/")

    assert (response.status_code, response.json()["state"]) == (200, "waiting")
    assert "RateLimit-Remaining" in response
    refused = acme.send(f"tasks/{told['id']}/retry/")
    assert refused.json()["code"] == "INVALID_STATE"


def test_usage_tells_used_quota_and_what_remains(key_of: Callable[..., ApiClient]):
    client = key_of("acme")
    make_organization("acme", tier="free")
    client.send("tasks/", NEW)

    told = client.ask("organizations/acme/usage/").json()

    assert (told["organizationId"], told["tier"]) == ("acme", "free")
    assert told["usage"]["ARCHITECT"] == {"used": 1, "quota": 10, "remaining": 9}
    make_organization("acme", tier="enterprise")
    unlimited = client.ask("organizations/acme/usage/", month="2020-01").json()["usage"]["CODE"]
    assert unlimited == {"used": 0, "quota": None, "remaining": None}


def test_only_staff_see_the_stack_of_a_failure(acme: ApiClient, staff: ApiClient):
    error = {"code": "INTERNAL_ERROR", "message": "broken", "retryable": False, "stack": "File …"}
    task = make_task(state=State.FAILED, error=error)

    def stacks(client: ApiClient) -> list[str | None]:
        told = [client.ask(f"tasks/{task.pk}/").json(), *client.ask("tasks/").json()["results"]]
        assert {row["error"]["message"] for row in told} == {"broken"}
        return [row["error"].get("stack") for row in told]

    assert stacks(acme) == [None, None]
    assert stacks(staff) == ["File …", "File …"]


@pytest.mark.parametrize("month", ["0000-01", "9999-12", "2026-13", "2026-1"])
def test_a_month_that_is_none_is_refused(acme: ApiClient, month: str):
    response = acme.ask("organizations/acme/usage/", month=month)

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
