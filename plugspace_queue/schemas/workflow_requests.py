"""What callers of REST and Python say of a workflow."""

from pydantic import Field

from plugspace_queue.domain.kinds import KindName
from plugspace_queue.domain.task_options import LONGEST_TTL
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.schemas.requests import (
    Context,
    Data,
    ForOrganization,
    Name,
    Request,
    fingerprint_of,
)


class WorkflowFields(Request):
    """What REST and Python say of a workflow in the same words."""

    kind: KindName = KindName("create")
    project_id: Name
    input: Data = Field(description="prompt, url, context, options; as the kind takes it.")
    priority: int | None = Field(None, ge=0, le=LOWEST_PRIORITY)
    context: Context = None
    ttl: int | None = Field(None, ge=1, le=LONGEST_TTL)


class WorkflowRequest(WorkflowFields, ForOrganization):
    """One workflow to be submitted for an organization."""

    def fingerprint(self) -> str:
        """Equal for equal arguments, whatever the order of keys; `input` is in its stored form."""
        return fingerprint_of(
            "workflow",
            kind=self.kind,
            project=self.project_id,
            user=self.user_id,
            input=self.input,
            context=self.chain.as_data(),
            priority=self.priority,
            ttl=self.ttl,
        )
