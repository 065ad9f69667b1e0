"""What may be declared, what is refused, and what a type is: a string with a registry behind it."""

import copy
import json
import pickle
import re
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from plugspace_queue import Limiter, TaskType, errors, task_type
from plugspace_queue.broker import keys
from plugspace_queue.domain import catalog
from plugspace_queue.domain.task_types import LONGEST_NAME, RESERVED, of_row, queue_of
from tests.catalog.conftest import Declare


class Audio(BaseModel):
    url: str


class Transcript(BaseModel):
    text: str


def test_a_type_is_its_name_everywhere(declare: Declare):
    kind = declare("TRANSCRIBE", input=Audio, output=Transcript)

    assert kind == "TRANSCRIBE"
    assert kind is TaskType("TRANSCRIBE")
    assert {"TRANSCRIBE": 1}[kind] == 1
    assert json.dumps({kind: kind}) == '{"TRANSCRIBE": "TRANSCRIBE"}'
    assert (kind.value, kind.queue_name, f"{kind}") == ("TRANSCRIBE", "transcribe", "TRANSCRIBE")
    assert type(kind.value) is str
    assert pickle.loads(pickle.dumps(kind)) is copy.deepcopy(kind) is copy.copy(kind) is kind


def test_declared_types_are_found_in_their_order(declare: Declare):
    kind = declare("TRANSCRIBE")

    assert list(TaskType)[-1] is kind is TaskType.TRANSCRIBE
    assert len(TaskType) == 7
    assert "TRANSCRIBE" in TaskType
    assert catalog.type_of_queue("transcribe") is kind
    assert catalog.queue_names()[-1] == "transcribe"


def test_what_is_not_declared_is_no_type():
    with pytest.raises(ValueError, match=r"NOPE.*ARCHITECT, DESIGN"):
        TaskType("NOPE")
    with pytest.raises(AttributeError, match="NOPE"):
        _ = TaskType.NOPE
    assert catalog.find("NOPE") is catalog.type_of_queue("nope") is None
    assert catalog.type_of_queue("CODE") is None


def test_a_row_of_a_dropped_type_still_has_a_type_and_a_queue():
    kind = of_row("GONE")

    assert (kind, kind.queue_name, kind.is_declared) == ("GONE", "gone", False)
    assert queue_of("GONE") == "gone"
    assert "GONE" not in TaskType


@pytest.mark.parametrize("name", ["", "code", "1A", "A-B", "A B", "Ä", "A" * 33, "A\n", None, 5])
def test_a_bad_name_is_refused(declare: Declare, name: Any):
    with pytest.raises(errors.InvalidTaskType) as refused:
        declare(name)

    assert (refused.value.code, refused.value.details["option"]) == ("INVALID_TASK_TYPE", "name")


def test_the_longest_name_is_as_long_as_the_columns(declare: Declare):
    assert len(declare("A" * LONGEST_NAME)) == 32


def test_names_of_keys_and_types_of_our_own_are_reserved(declare: Declare):
    for name in RESERVED:
        with pytest.raises(errors.TaskTypeReserved) as refused:
            declare(name)
        assert refused.value.code == "TASK_TYPE_RESERVED"


def test_every_first_segment_of_our_keys_is_reserved_but_that_of_exports():
    # `plugspace:export:{id}` is an export; the queue's keys have other second segments.
    firsts = {key.split(":")[1] for key in _all_keys() if not key.startswith("plugspace:code")}

    assert {first.upper() for first in firsts} - {"EXPORT"} <= RESERVED


def _all_keys() -> list[str]:
    made = [name for name in vars(keys) if not name.startswith("_") and name != "get_settings"]
    functions = [getattr(keys, name) for name in made]
    return [function(*_arguments(function)) for function in functions]


def _arguments(function: Any) -> list[Any]:
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return ["code" if name == "name" else 1 if name == "band" else "x" for name in names]


def test_two_declarations_of_one_type_are_refused(declare: Declare):
    declare("TRANSCRIBE", input=Audio)

    with pytest.raises(errors.TaskTypeConflict) as refused:
        declare("TRANSCRIBE", input=Transcript)

    assert refused.value.code == "TASK_TYPE_CONFLICT"
    assert TaskType.TRANSCRIBE.input.type is Audio


def test_nothing_is_declared_once_django_has_started():
    with pytest.raises(errors.CatalogFrozen) as refused:
        task_type("TRANSCRIBE")

    assert refused.value.code == "CATALOG_FROZEN"
    assert "task_types.py" in refused.value.message
    assert "TRANSCRIBE" not in TaskType


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": True},
        {"default_priority": 4},
        {"limiter": {"max": 5, "duration": 60}},
        {"limiter": Limiter(0, per=60)},
        {"limiter": Limiter(5, per=0)},
        {"timeout": 0},
        {"timeout": "900"},
        {"ttl": 0.5},
        {"max_retries": -1},
        {"backoff_delay": -1},
        {"backoff_jitter": 2},
        {"retry_on": [ValueError]},
        {"isolation": "thred"},
        {"quotas": {"free": -2}},
        {"quotas": {"free": 1.5}},
        {"quotas": [5]},
        {"label": 5},
        {"internal": 1},
        {"upgrade": "module.function"},
    ],
    ids=str,
)
def test_a_bad_option_is_refused_by_its_name(declare: Declare, options: dict[str, Any]):
    with pytest.raises(errors.InvalidTaskType) as refused:
        declare("TRANSCRIBE", **options)

    assert refused.value.details["option"] in options
    assert "TRANSCRIBE" in refused.value.message
    assert "TRANSCRIBE" not in TaskType


def test_durations_may_be_timedeltas(declare: Declare):
    kind = declare(
        "TRANSCRIBE",
        limiter=Limiter(60, per=timedelta(minutes=1)),
        timeout=timedelta(minutes=5),
        ttl=timedelta(hours=2),
    )

    told = kind.declaration
    assert (told.limiter, told.timeout, told.ttl) == (Limiter(60, per=60), 300, 7200)


def test_replace_changes_what_is_said_and_the_type_stays_the_same_object(declare: Declare):
    kind = declare("TRANSCRIBE", input=Audio, output=Transcript, concurrency=4)

    again = declare("TRANSCRIBE", output=Audio, replace=True)

    assert again is kind
    assert (kind.input.type, kind.output.type, kind.declaration.concurrency) == (Audio, Audio, 4)


def test_pydantic_reads_types_as_they_are_declared_when_it_is_asked(declare: Declare):
    adapter = TypeAdapter(TaskType)
    declare("TRANSCRIBE")

    assert adapter.validate_python("TRANSCRIBE") is TaskType.TRANSCRIBE
    assert adapter.dump_json(TaskType.TRANSCRIBE) == b'"TRANSCRIBE"'
    assert adapter.json_schema()["enum"][-1] == "TRANSCRIBE"
    with pytest.raises(ValidationError, match="'ARCHITECT', 'DESIGN'"):
        adapter.validate_python("no such word")


def test_the_message_of_a_conflict_says_what_to_do(declare: Declare):
    with pytest.raises(errors.TaskTypeConflict, match=re.escape("replace=True")):
        declare("CODE")
