"""System checks of task types and their processors."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.utils.translation import gettext as _

from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.processing import registry

Apps = Sequence[AppConfig] | None


@checks.register("plugspace_queue")
def processors_can_be_imported(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """The processors of all apps register, as they will in the workers."""
    try:
        registry.load_processors()
    except Exception as error:
        hint = _("Workers import the processors module of each app when they start.")
        error_text = f"{type(error).__name__}: {error}"
        return [
            Error(
                _("A processors module cannot be imported: %(error)s") % {"error": error_text},
                hint=hint,
                id="psq.E014",
            )
        ]
    return []


@checks.register("plugspace_queue")
def models_of_types_are_usable(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Pydantic can validate the inputs and outputs of all task types."""
    return [
        Error(
            _("%(kind)s: %(side)s is no type that pydantic can validate: %(fault)s")
            % {"kind": kind, "side": side, "fault": fault},
            id="psq.E015",
        )
        for kind in TaskType
        for side, shape in (("input", kind.input), ("output", kind.output))
        if (fault := shape.fault())
    ]


@checks.register("plugspace_queue")
def quotas_are_said(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """A tier that one type limits is not forgotten by another."""
    kinds = public_types()
    limited = {
        tier
        for kind in kinds
        for tier, quota in kind.declaration.quotas.items()
        if tier != "*" and quota != UNLIMITED
    }
    return [
        Warning(
            _("%(kind)s declares no quota for %(names)s: it has the default of the tier.")
            % {"kind": kind, "names": ", ".join(forgotten)},
            hint=_('Say quotas={"free": 5, "*": -1} or the like in task_type(…).'),
            id="psq.W010",
        )
        for kind in kinds
        if "*" not in kind.declaration.quotas
        and (forgotten := sorted(limited - set(kind.declaration.quotas)))
    ]
