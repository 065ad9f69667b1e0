"""What a registration asks for is looked at when it is made, not when the first task fails."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from plugspace_queue import errors, processor, queue_manager
from plugspace_queue.limits import policies, registrations
from plugspace_queue.models import QueueSettings
from plugspace_queue.testing import processors, run_pending
from tests.factories import arguments, make_organization
from tests.worker.conftest import make_crew


def work(context: Any) -> Any:
    return {"worked": True}


class Worker:
    async def __call__(self, context: Any) -> Any:
        return {"worked": True}


def no_argument() -> Any: ...


def two_arguments(context: Any, more: Any) -> Any: ...


def by_name(*, context: Any) -> Any: ...


def generates(context: Any) -> Iterator[int]:
    yield 1


@pytest.fixture(autouse=True)
def same_processors_afterwards() -> Iterator[None]:
    with processors({"EXPORT": work}):
        yield


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"concurrency": 0}, "concurrency", "whole number from 1"),
    ({"concurrency": -1}, "concurrency", "whole number from 1"),
    ({"concurrency": 2.5}, "concurrency", "whole number from 1"),
    ({"concurrency": True}, "concurrency", "whole number from 1"),
    ({"concurrency": "3"}, "concurrency", "whole number from 1"),
    ({"timeout": 0}, "timeout", "number of seconds"),
    ({"timeout": -5}, "timeout", "number of seconds"),
    ({"timeout": float("nan")}, "timeout", "number of seconds"),
    ({"timeout": float("inf")}, "timeout", "number of seconds"),
    ({"timeout": "60"}, "timeout", "number of seconds"),
    ({"timeout": True}, "timeout", "number of seconds"),
    ({"limiter": 5}, "limiter", "max and duration"),
    ({"limiter": {"max": 5}}, "limiter", "max and duration"),
    ({"limiter": {"max": 5, "duration": 1, "per": 2}}, "limiter", "max and duration"),
    ({"limiter": {"max": 0, "duration": 1}}, "limiter", "whole number from 1"),
    ({"limiter": {"max": 1.5, "duration": 1}}, "limiter", "whole number from 1"),
    ({"limiter": {"max": 5, "duration": 0}}, "limiter", "number of seconds"),
    ({"limiter": {"max": 5, "duration": "60"}}, "limiter", "number of seconds"),
    ({"isolation": "child"}, "isolation", "process"),
    ({"isolation": True}, "isolation", "process"),
    ({"retry_on": ValueError}, "retry_on", "tuple of exception classes"),
    ({"retry_on": [ValueError]}, "retry_on", "tuple of exception classes"),
    ({"retry_on": ("ValueError",)}, "retry_on", "tuple of exception classes"),
    ({"retry_on": (ValueError("x"),)}, "retry_on", "tuple of exception classes"),
    ({"retry_on": (dict,)}, "retry_on", "tuple of exception classes"),
    ({"output": object()}, "output", "pydantic"),
]


@pytest.mark.parametrize(("options", "option", "reason"), REFUSED)
def test_an_option_that_cannot_be_is_refused_with_the_reason(options, option, reason):
    with pytest.raises(errors.InvalidProcessor) as refused:
        queue_manager.register_worker("EXPORT", work, replace=True, **options)

    assert refused.value.code == "INVALID_PROCESSOR"
    assert refused.value.details["option"] == option
    assert reason in str(refused.value)
    assert "EXPORT" in str(refused.value) and "test_registration.work" in str(refused.value)


@pytest.mark.parametrize(("options", "option", "reason"), REFUSED[:1])
def test_the_decorator_refuses_the_same(options, option, reason):
    with pytest.raises(errors.InvalidProcessor, match=reason):
        processor("EXPORT", replace=True, **options)(work)


@pytest.mark.parametrize("function", [None, "tests.work", 5])
def test_what_cannot_be_called_is_no_processor(function):
    with pytest.raises(errors.InvalidProcessor, match="cannot be called"):
        queue_manager.register_worker("EXPORT", function, replace=True)


@pytest.mark.parametrize("function", [no_argument, two_arguments, by_name, partial(work, None)])
def test_a_processor_that_does_not_take_one_context_is_refused(function):
    with pytest.raises(errors.InvalidProcessor, match="one argument, the context"):
        queue_manager.register_worker("EXPORT", function, replace=True)


class Generates:
    """An object whose call yields."""

    def __call__(self, context: Any) -> Any:
        yield context


@pytest.mark.parametrize("function", [generates, Generates(), partial(Generates())])
def test_a_processor_that_yields_is_refused(function):
    with pytest.raises(errors.InvalidProcessor, match="yields"):
        queue_manager.register_worker("EXPORT", function, replace=True)


def test_a_type_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(errors.InvalidProcessor, match=r"EXPORTS.*ARCHITECT, DESIGN"):
        queue_manager.register_worker("EXPORTS", work)


def test_a_refused_registration_leaves_the_one_before_in_its_place(caplog):
    with pytest.raises(errors.InvalidProcessor):
        queue_manager.register_worker("EXPORT", work, replace=True, timeout=-1, concurrency=77)

    assert registrations._declared[policies.TaskType.EXPORT].concurrency is None


@pytest.mark.django_db(transaction=True)
def test_an_object_whose_call_is_a_coroutine_runs_on_the_event_loop():
    make_organization()
    queue_manager.register_worker("EXPORT", Worker(), output=Any, replace=True)
    queue_manager.add_task(**arguments(type="EXPORT"))

    (task,) = run_pending("EXPORT")

    assert (task.state, task.result) == ("complete", {"worked": True})


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """What a worker that starts warns of."""

    def start() -> list[str]:
        policies.clear_cache()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "plugspace_queue.worker"):
            make_crew("export")
        return [one.getMessage() for one in caplog.records if "registered" in one.getMessage()]

    yield start
    policies.clear_cache()


@pytest.mark.django_db(transaction=True)
def test_a_registration_that_differs_from_the_operators_row_is_warned_of_at_the_start(warnings_of):
    queue_manager.register_worker(
        "EXPORT", work, concurrency=3, limiter={"max": 7, "duration": 60}, replace=True
    )
    assert warnings_of() == []

    QueueSettings.objects.update_or_create(
        type="EXPORT", defaults={"concurrency": 4, "limiter_max": 7, "limiter_duration": 30.0}
    )

    first, second = warnings_of()
    assert "concurrency 3" in first and "row" in first and " 4" in first
    assert "limiter_duration 60" in second and " 30" in second


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("concurrency", [8, {"EXPORT": 8}])
def test_a_registration_that_differs_from_the_settings_is_warned_of_too(
    warnings_of, settings, concurrency
):
    queue_manager.register_worker("EXPORT", work, concurrency=3, replace=True)
    settings.PLUGSPACE_QUEUE = {"CONCURRENCY": concurrency}

    (told,) = warnings_of()

    assert "concurrency 3" in told and "CONCURRENCY" in told and " 8" in told
