"""System checks of task types and their processors."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error

from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.processing import registry

Apps = Sequence[AppConfig] | None


@checks.register("plugspace_queue")
def processors_can_be_imported(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The processors of all apps register, as they will in the workers."""
    try:
        registry.load_processors()
    except Exception as error:
        hint = "Workers import the processors module of each app when they start."
        told = f"{type(error).__name__}: {error}"
        return [Error(f"A processors module cannot be imported: {told}", hint=hint, id="psq.E014")]
    return []


@checks.register("plugspace_queue")
def models_of_types_are_usable(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Pydantic can validate the inputs and outputs of all task types."""
    return [
        Error(f"{kind}: {side} is no type that pydantic can validate: {fault}", id="psq.E015")
        for kind in TaskType
        for side, shape in (("input", kind.input), ("output", kind.output))
        if (fault := shape.fault())
    ]
