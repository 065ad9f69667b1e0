"""A processor is held to the models of its type, when it registers and when it returns."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone
from pydantic import BaseModel, ConfigDict

from plugspace_queue import Context, TaskType, errors, processor, queue_manager, testing
from plugspace_queue.maintenance import expiry
from plugspace_queue.models import Task
from plugspace_queue.processing import registry
from plugspace_queue.schemas.task import snapshot
from tests.catalog.conftest import Declare
from tests.factories import make_organization

WHEN = "2026-12-01T10:00:00Z"


class Audio(BaseModel):
    url: str
    recorded_at: datetime | None = None


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    url: str


class Transcript(BaseModel):
    text: str


class LongTranscript(Transcript):
    pages: int = 1


@dataclass
class Clip:
    seconds: int
    name: str = "clip"


@dataclass
class Cut:
    seconds: float
    from_clip: Clip


@pytest.fixture
def transcribe(declare: Declare) -> Iterator[TaskType]:
    yield declare("TRANSCRIBE", input=Audio, output=Transcript)
    registry.unregister("TRANSCRIBE")


def right(context: Context[Audio]) -> Transcript:
    return Transcript(text=context.input.url)


def longer(context: Context[Audio]) -> LongTranscript:
    return LongTranscript(text=context.input.url)


def plain(context: Any) -> dict[str, Any]:
    return {"text": "plain"}


def wrong_output(context: Context[Audio]) -> Audio:
    return context.input


def wrong_input(context: Context[Transcript]) -> Transcript:
    return context.input


async def wrong_async(context: Context[Audio]) -> Clip:
    return Clip(1)


@pytest.mark.parametrize("function", [right, longer, plain])
def test_a_processor_registers_by_its_type_and_by_its_name(transcribe: TaskType, function: Any):
    assert transcribe.processor(function) is function
    assert processor("TRANSCRIBE", replace=True)(function) is function
    assert transcribe.processor(timeout=5, replace=True)(function) is function
    assert registry.timeout_of("TRANSCRIBE") == 5


@pytest.mark.parametrize(
    ("function", "option", "named"),
    [
        (wrong_output, "output", "Audio"),
        (wrong_async, "output", "Clip"),
        (wrong_input, "input", "Transcript"),
    ],
)
def test_hints_that_disagree_with_the_type_are_refused(
    transcribe: TaskType, function: Any, option: str, named: str
):
    with pytest.raises(errors.InvalidProcessor) as refused:
        transcribe.processor(function)

    assert refused.value.details["option"] == option
    assert named in refused.value.message
    assert registry.processor_of("TRANSCRIBE") is None


def test_an_output_of_its_own_is_not_held_to_the_types(transcribe: TaskType):
    assert transcribe.processor(output=Audio)(wrong_output) is wrong_output


def done(kind: str, input: Any, function: Any) -> Task:
    """The task after it ran, in a new organization without quotas in its way."""
    make_organization("acme")
    queue_manager.add_task(kind, project_id="p", user_id="u", organization_id="acme", input=input)
    with testing.processors({kind: function}, output=None):
        (task,) = testing.run_pending(kind)
    return task


@pytest.mark.django_db
def test_models_of_pydantic_go_in_and_come_out(transcribe: TaskType):
    task = done("TRANSCRIBE", Audio(url="u"), right)

    assert (task.input, task.result) == ({"url": "u", "recorded_at": None}, {"text": "u"})


@pytest.mark.django_db
def test_dataclasses_go_in_and_come_out(declare: Declare):
    declare("CUT", input=Clip, output=Cut)

    def cut(context: Context[Clip]) -> Cut:
        assert isinstance(context.input, Clip)
        return Cut(seconds=context.input.seconds / 2, from_clip=context.input)

    task = done("CUT", Clip(3), cut)

    assert task.input == {"seconds": 3, "name": "clip"}
    assert task.result == {"seconds": 1.5, "from_clip": {"seconds": 3, "name": "clip"}}


@pytest.mark.django_db
def test_a_dataclass_of_another_type_is_no_result(declare: Declare):
    declare("CUT", input=Clip, output=Cut)

    task = done("CUT", {"seconds": 3}, lambda context: Clip(2))

    assert task.error is not None
    assert task.error["code"] == "INVALID_RESULT"


@pytest.mark.django_db
def test_a_strict_model_takes_the_text_of_a_time(declare: Declare):
    declare("WAKE", input=Strict)

    def year(context: Context[Strict]) -> int:
        return context.input.at.year

    assert done("WAKE", {"at": WHEN}, year).result == 2026


@pytest.mark.django_db
@pytest.mark.parametrize("model", [dict, dict[str, Any], Any, None])
def test_a_type_may_take_any_object_and_return_any_json(declare: Declare, model: Any):
    declare("NOTE", input=model, output=model and Any)

    task = done("NOTE", {"a": [1, None]}, lambda context: context.input["a"])

    assert (task.input, task.result) == ({"a": [1, None]}, [1, None])


@pytest.mark.django_db
def test_unknown_keys_are_refused_unless_the_model_allows_them(declare: Declare):
    declare("CUT", input=Clip)
    declare("SING", input=Loose)
    declare("TRANSCRIBE", input=Audio)
    known, more = {"url": "u", "seconds": 3}, {"more": 1}

    for kind, names in (("CUT", {"seconds"}), ("TRANSCRIBE", {"url"})):
        with pytest.raises(errors.ValidationRefused) as refused:
            done(kind, {name: known[name] for name in names} | more, plain)
        assert refused.value.details["field"] == "input.more"

    assert done("SING", {"url": "u", "more": 1}, plain).input == {"url": "u", "more": 1}


@pytest.mark.django_db
def test_a_typed_submit_is_a_submit_with_all_its_options(transcribe: TaskType):
    make_organization("acme")

    handle = transcribe.submit(
        Audio(url="u"), organization="acme", project="p", user="u", ttl=60, idempotency_key="k"
    )
    again = transcribe.submit(
        Audio(url="u"), organization="acme", project="p", user="u", ttl=60, idempotency_key="k"
    )

    assert handle.task.type == "TRANSCRIBE"
    assert (handle.id, handle.task.ttl) == (again.id, 60)
    assert (handle.task.project_id, handle.task.user_id) == ("p", "u")


@pytest.mark.django_db
def test_a_typed_submit_of_another_type_is_refused_like_any_input(transcribe: TaskType):
    make_organization("acme")

    with pytest.raises(errors.ValidationRefused, match="input"):
        transcribe.submit(Clip(3), organization="acme", project="p", user="u")
    with pytest.raises(errors.ValidationRefused, match="input"):
        transcribe.submit("u", organization="acme", project="p", user="u")


class Newer(BaseModel):
    address: str


def with_stored_input(kind: TaskType, stored: dict[str, Any]) -> Task:
    """A charged task whose input was stored for an earlier model."""
    make_organization("acme", tier="starter")
    task = kind.submit({"any": 1}, organization="acme", project="p", user="u").task
    Task.objects.filter(pk=task.pk).update(input=stored)
    return task


@pytest.fixture
def changed(declare: Declare) -> Any:
    """A type whose model changes once a task waits: call it with what is declared then."""
    kind = declare("TRANSCRIBE", output=Any, quotas={"*": 5})

    def change(stored: dict[str, Any], **options: Any) -> Task:
        task = with_stored_input(kind, stored)
        declare("TRANSCRIBE", replace=True, **options)
        read = lambda context: context.input.address  # noqa: E731
        with testing.processors({"TRANSCRIBE": read}):
            testing.run_pending("TRANSCRIBE")
        task.refresh_from_db()
        return task

    return change


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "upgrade", [lambda old: {"address": old["url"]}, lambda old: Newer(address=old["url"])]
)
def test_an_upgrade_brings_a_stored_input_into_todays_form(changed: Any, upgrade: Any):
    task = changed({"url": "u"}, input=Newer, upgrade=upgrade)

    assert (task.state, task.result) == ("complete", "u")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "upgrade", [None, lambda old: {"addres": "u"}, lambda old: old["missing"], lambda old: None]
)
def test_an_input_that_no_upgrade_mends_fails_and_is_refunded(changed: Any, upgrade: Any):
    task = changed({"url": "u"}, input=Newer, upgrade=upgrade)

    assert (task.state, task.error["code"]) == ("failed", "VALIDATION_ERROR")
    assert task.refunded_at is not None
    assert "missing" not in task.error["message"]


@pytest.mark.django_db(transaction=True)
def test_a_refund_that_a_dying_worker_left_is_made_later(changed: Any):
    task = changed({"url": "u"}, input=Newer)
    Task.objects.filter(pk=task.pk).update(refunded_at=None)

    assert expiry.refund_owed(timezone.now()) == 1

    assert "refunds" not in snapshot(Task.objects.get(pk=task.pk))


@pytest.mark.django_db(transaction=True)
def test_a_typed_submit_returns_a_handle_whose_wait_gives_the_output(transcribe: TaskType):
    make_organization()
    with testing.processors({"TRANSCRIBE": right}):
        handle = transcribe.submit(Audio(url="a.mp3"), organization="acme", project="p", user="u")
        testing.run_pending()

    result = handle.wait(timeout=5)

    assert (type(result), result.text) == (Transcript, "a.mp3")
    assert handle.id == handle.task.pk


@pytest.mark.django_db(transaction=True)
def test_a_handle_raises_the_code_of_a_task_that_failed(transcribe: TaskType):
    make_organization()
    with testing.processors({"TRANSCRIBE": lambda context: 1 / 0}):
        handle = transcribe.submit(
            Audio(url="a.mp3"), organization="acme", project="p", user="u", max_retries=0
        )
        testing.run_pending()

    with pytest.raises(errors.TaskFailed) as raised:
        handle.wait(timeout=5)

    assert raised.value.code == Task.objects.get(pk=handle.id).error_code
