"""Lists over HTTP read what they show, and leave what is large in the database."""

import json
from typing import Any

import pytest
from django.db import connection
from django.db.models import JSONField
from django.test.utils import CaptureQueriesContext

from plugspace_queue.domain.enums import EventName, State
from plugspace_queue.events import publish
from plugspace_queue.schemas.task import snapshot
from tests.api.conftest import ApiClient
from tests.factories import make_task

pytestmark = pytest.mark.django_db

NEW_WORKFLOW = {"projectId": "site", "input": {"prompt": "Create a SaaS dashboard"}}
LARGE = {"prompt": "needle" + "x" * 60_000}


def test_large_inputs_and_results_of_a_list_never_leave_the_database(
    acme: ApiClient, monkeypatch: pytest.MonkeyPatch
):
    make_task(input=LARGE, result=LARGE, state=State.COMPLETE)
    read: list[str] = []
    from_database = JSONField.from_db_value

    def noting(field: JSONField, value: Any, *rest: Any) -> Any:
        read.append(str(value))
        return from_database(field, value, *rest)

    monkeypatch.setattr(JSONField, "from_db_value", noting)
    with CaptureQueriesContext(connection) as queries:
        row = acme.ask("tasks/").json()["results"][0]

    assert (row["input"], row["inputOmitted"]) == (None, True)
    assert (row["result"], row["resultOmitted"]) == (None, True)
    assert not [text for text in read if "needle" in text]
    assert len([query for query in queries if "plugspace_queue_task" in query["sql"]]) == 1


@pytest.mark.parametrize("result", [None, {"pages": ["ü", 1, None]}, [], 0, "text", False])
def test_a_list_shows_small_inputs_and_results_as_they_are(acme: ApiClient, result: Any):
    make_task(input={"prompt": "Ein Café"}, result=result, state=State.COMPLETE)

    row = acme.ask("tasks/").json()["results"][0]

    assert row["input"] == {"prompt": "Ein Café"}
    assert row.get("result") == result
    assert ("result" in row) == (result is not None)
    assert not {"inputOmitted", "resultOmitted"} & set(row)


def bytes_of(value: Any) -> int:
    """What the limit counts: compact JSON in UTF-8, whatever a database makes of it."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize("too_long", [0, 1])
@pytest.mark.parametrize(
    "value",
    [
        [1] * 4_000,
        ["ü" * 9] * 200,
        [{"a": []}] * 900,
        ["日本語"] * 100,
        ["🎈"] * 100,
        [r"C:\users\u00fc"] * 100,
        ["\x01\x7f"] * 100,
    ],
    ids=["blanks", "two bytes", "nested", "three bytes", "four bytes", "no escape", "control"],
)
def test_the_limit_of_a_list_is_the_snapshots_limit(
    acme: ApiClient, settings: Any, value: list[Any], too_long: int
):
    settings.PLUGSPACE_QUEUE = {"SNAPSHOT_LIMIT": bytes_of(value) - too_long}
    task = make_task(result=value, state=State.COMPLETE)

    row = acme.ask("tasks/").json()["results"][0]
    copy = json.loads(snapshot(task))
    event = publish.payload(EventName.COMPLETED, task, result=value)

    told = None if too_long else value
    assert (row["result"], copy["result"], event["result"]) == (told, told, told)
    omitted = [bool(shown.get("resultOmitted")) for shown in (row, copy, event)]
    assert omitted == [bool(too_long)] * 3


@pytest.mark.parametrize("too_long", [0, 1])
@pytest.mark.parametrize("text", ["Café " * 90, "🎈" * 90])
def test_the_limit_of_a_list_of_workflows_is_the_same(
    acme: ApiClient, settings: Any, text: str, too_long: int
):
    value = {"prompt": text}
    acme.send("workflows/", NEW_WORKFLOW | {"input": value})
    settings.PLUGSPACE_QUEUE = {"SNAPSHOT_LIMIT": bytes_of(value) - too_long}

    row = acme.ask("workflows/").json()["results"][0]

    assert row["input"] == (None if too_long else value)


def test_a_list_of_workflows_leaves_large_inputs_in_the_database(
    acme: ApiClient, settings: Any, django_assert_num_queries: Any
):
    small, large = (
        acme.send("workflows/", NEW_WORKFLOW | {"input": {"prompt": "x" * length}}).json()[
            "workflowId"
        ]
        for length in (10, 500)
    )
    settings.PLUGSPACE_QUEUE = {"SNAPSHOT_LIMIT": 200}

    # The key, the page, the steps.
    with django_assert_num_queries(3) as queries:
        rows = {row["id"]: row for row in acme.ask("workflows/").json()["results"]}

    assert rows[small]["input"] == {"prompt": "x" * 10}
    assert "inputOmitted" not in rows[small]
    assert (rows[large]["input"], rows[large]["inputOmitted"]) == (None, True)
    assert ' "plugspace_queue_workflow"."input",' not in queries.captured_queries[1]["sql"]
    assert len(acme.ask(f"workflows/{large}/").json()["input"]["prompt"]) == 500
