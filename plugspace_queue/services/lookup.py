"""Looks up tasks, workflows and organizations; those of other organizations are not found."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from plugspace_queue.domain.enums import Status
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.errors import NotFound
from plugspace_queue.limits.policies import is_organization_id, unknown
from plugspace_queue.models import Organization, Task, Workflow, task_queries, tenancy_queries
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.services import arguments

MOST_PER_PAGE = 1000
FURTHEST_OFFSET = 10_000
DEFAULTS = {"type": None, "limit": 20, "offset": 0}

NO_TASK = gettext_noop("No task %(id)r here.")
NO_WORKFLOW = gettext_noop("No workflow %(id)r here.")


def task_of(task_id: object, organization_id: str | None = None) -> Task:
    """The task, of any organization if None is given. Raises NotFound."""
    rows = task_queries.tasks_of_organization(organization_id)
    if organization_id is not None:
        rows = rows.public()
    found = rows.filter(pk=_id(task_id, NO_TASK)).first()
    if found is None:
        raise _not_found(NO_TASK, task_id)
    return found


def workflow_of(workflow_id: object, organization_id: str | None = None) -> Workflow:
    """The workflow with its steps, of any organization if None is given. Raises NotFound."""
    rows = task_queries.workflow_with_steps(_id(workflow_id, NO_WORKFLOW))
    if organization_id is not None:
        rows = rows.filter(organization_id=organization_id)
    found = rows.first()
    if found is None:
        raise _not_found(NO_WORKFLOW, workflow_id)
    return found


def page_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `tasks_of`, which may stand in a mapping in the place of the status.

    Raises ValidationRefused for a name that is no option, and for one that is given twice.
    """
    given = asked["status"]
    if not isinstance(given, Mapping):
        return dict(asked)
    for name in given:
        if name not in asked:
            refuse(
                str(name), _("is not known; options are %(names)s") % {"names": ", ".join(asked)}
            )
        if name != "status" and asked[name] != DEFAULTS[name]:
            refuse(name, _("is given twice"))
    return {**asked, "status": None, **given}


def tasks_of(
    organization_id: str, *, status: object, type: object, limit: object, offset: object
) -> list[Task]:
    """One page of an organization's tasks, the newest first. Raises ValidationRefused."""
    rows = task_queries.tasks_of_organization(organization_id).public()
    if status is not None:
        rows = rows.with_status(arguments.word("status", status, Status))
    if type is not None:
        rows = rows.filter(type=arguments.task_type(type))
    start = arguments.whole("offset", offset, 0, FURTHEST_OFFSET)
    size = arguments.whole("limit", limit, 1, MOST_PER_PAGE)
    return list(rows.order_by("-pk")[start : start + size])


def _id(value: Any, message: str) -> uuid.UUID:
    found = value.pk if isinstance(value, Task | Workflow) else parse_id(value)
    if found is None:
        raise _not_found(message, value)
    return found


def _not_found(message: str, value: object) -> NotFound:
    return NotFound(_(message) % {"id": str(value)[:64]})


def organization_of(organization_id: object) -> Organization:
    """The organization with its tier; raises OrganizationUnknown."""
    found = None
    if is_organization_id(organization_id):
        found = tenancy_queries.organization_with_tier(str(organization_id))
    if found is None:
        raise unknown(organization_id)
    return found
