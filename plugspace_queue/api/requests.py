"""What callers send. Organization and user are never part of it: they come from the credentials."""

from typing import Annotated, Any, Self
from uuid import UUID

from django.utils.translation import gettext as _
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from plugspace_queue.api.pagination import PageQuery
from plugspace_queue.domain.enums import Policy, State, Status
from plugspace_queue.domain.kinds import KindName
from plugspace_queue.domain.task_options import LONGEST_WINDOW, MOST, SHORTEST_WINDOW
from plugspace_queue.domain.task_types import TaskType, known
from plugspace_queue.domain.tiers import LARGEST_QUOTA, LOWEST_PRIORITY, UNLIMITED
from plugspace_queue.schemas.base import WireModel
from plugspace_queue.schemas.requests import (
    Key,
    Moment,
    TaskFields,
    TaskRequest,
)
from plugspace_queue.schemas.workflow_requests import WorkflowFields
from plugspace_queue.services.organizations import LONGEST_NAME
from plugspace_queue.services.overrides import MOST_GRANTED

MAX_BULK = 1_000
LONGEST_WAIT = 30
"""Seconds for which a request may wait for the end of a task."""


# JSON has neither enums nor times nor UUIDs: their text is taken, nothing else.
Type = Annotated[TaskType, AfterValidator(known)]
PolicyName = Annotated[Policy, Field(strict=False)]
Slots = Annotated[int, Field(ge=1, le=MOST)] | None


class NewTask(TaskFields):
    """A task to be added for the caller's organization."""

    type: Type

    def asked(self, **names: Any) -> TaskRequest:
        """The request in the names of the credentials; its fields are checked already."""
        return TaskRequest.model_construct(**{**dict(self), "type": self.type.value, **names})


class BulkTask(NewTask):
    """One task of a bulk; its key is its own, unless the header names the whole bulk."""

    idempotency_key: Key | None = None


class NewTasks(WireModel):
    """Tasks to be added, all of them or none."""

    tasks: list[BulkTask] = Field(min_length=1, max_length=MAX_BULK)


class NewWorkflow(WorkflowFields):
    """A workflow to be started."""

    def arguments(self) -> dict[str, Any]:
        """The arguments of `add_workflow`, but for those of the credentials."""
        return dict(self)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


ReasonText = Annotated[str, Field(max_length=200, description="Why; staff's goes into the audit.")]


class ReasonRequest(WireModel):
    """The body of a verb; it may be left out."""

    reason: ReasonText = ""


class Change(WireModel):
    """A body of PATCH: what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    reason: ReasonText = ""

    def changes(self) -> dict[str, Any]:
        """What is to be changed, by our names."""
        values = self.model_dump()
        return {name: values[name] for name in self.model_fields_set - {"reason"}}


class OrganizationChange(Change):
    """What staff change of an organization."""

    tier: str | None = Field(None, max_length=32, description="Slug of a tier; null: none.")
    name: str = Field("", max_length=LONGEST_NAME)
    is_suspended: bool = Field(False, description="It can read, and submit nothing.")


class LimiterChange(WireModel):
    """Starts per window of `duration` seconds, over all workers."""

    max: int = Field(ge=1, le=MOST)
    duration: float = Field(ge=SHORTEST_WINDOW, le=LONGEST_WINDOW)


class QueueChange(Change):
    """What staff change of a queue; null leaves it to the code or the declaration."""

    concurrency: Slots = Field(None, description="Slots of one worker process.")
    global_concurrency: Slots = Field(None, description="Running tasks over all workers.")
    organization_concurrency: Slots = Field(None, description="Running tasks per organization.")
    limiter: LimiterChange | None = None
    policy: PolicyName | None = None
    default_priority: int | None = Field(
        None, ge=0, le=LOWEST_PRIORITY, description="For organizations without a tier."
    )


Needed = Annotated[str, Field(min_length=1, max_length=200, description="Goes into the audit.")]


class _ForAWhile(WireModel):
    """From when until when, and why."""

    starts: Moment | None = Field(None, description="null: now.")
    until: Moment | None = Field(None, description="null: until staff end it.")
    reason: Needed

    def terms(self) -> dict[str, Any]:
        """The arguments of the manager's methods."""
        return {"starts": self.starts, "until": self.until, "reason": self.reason}


class GrantRequest(_ForAWhile):
    """Either `amount` tasks beside the quota of a type, or another `quota` in its place."""

    type: Type
    amount: int | None = Field(None, ge=1, le=MOST_GRANTED, description="More, each month.")
    quota: int | None = Field(None, ge=UNLIMITED, le=LARGEST_QUOTA, description="-1: no limit.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.amount is None) == (self.quota is None):
            raise ValueError(_("give amount or quota, one of them"))
        return self


class OverrideRequest(_ForAWhile):
    """Limits in the place of a queue's; those that are not given stay as they are."""

    limiter: LimiterChange | None = None
    concurrency: Slots = Field(None, description="Slots of one worker process.")
    global_concurrency: Slots = Field(None, description="Running tasks over all workers.")
    organization_concurrency: Slots = Field(None, description="Running tasks per organization.")

    def limits(self) -> dict[str, Any]:
        """The limits, by our names."""
        return self.model_dump(exclude={"starts", "until", "reason"})


class OverrideQuery(WireModel):
    """Which overrides are listed."""

    model_config = ConfigDict(strict=False)

    ended: bool = Field(False, description="Those that are over, too; at most 200 in all.")


class TaskQuery(PageQuery):
    """Filters of the list of tasks."""

    type: Type | None = None
    status: Status | None = None
    state: State | None = None
    project_id: str | None = Field(None, max_length=128)
    workflow_id: UUID | None = None


class WaitQuery(WireModel):
    """How long a task is waited for. Other parameters are none of this one's business."""

    model_config = ConfigDict(strict=False, extra="ignore")

    wait: float = Field(
        0, ge=0, le=LONGEST_WAIT, description="Answer when it has ended, or after these seconds."
    )


class WorkflowQuery(PageQuery):
    """Filters of the list of workflows."""

    kind: KindName | None = None
    project_id: str | None = Field(None, max_length=128)


class EventQuery(WireModel):
    """From which event on, and how many in a page."""

    model_config = ConfigDict(strict=False)

    since: str | None = Field(
        None, max_length=40, description="The cursor of a page or the `id` of an event."
    )
    limit: int = Field(100, ge=1, le=1000, description="Events of a page; a stream has no limit.")


class UsageQuery(WireModel):
    """Which month of usage is shown."""

    month: str | None = Field(None, pattern=r"^2[0-9]{3}-(0[1-9]|1[0-2])$", description="YYYY-MM")
