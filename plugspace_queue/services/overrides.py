"""Overrides of limits and quotas, and grants: made, listed and ended; no other row changes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.utils.translation import gettext as _
from pydantic import ValidationError

from plugspace_queue import audit_log
from plugspace_queue.domain import clock
from plugspace_queue.domain.enums import OverrideKey
from plugspace_queue.domain.shapes import shape_of
from plugspace_queue.domain.task_options import LONGEST_WINDOW, MOST, SHORTEST_WINDOW
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.domain.tiers import LARGEST_QUOTA, UNLIMITED
from plugspace_queue.errors import InvalidState, NotFound
from plugspace_queue.limits import overrides as override_rows
from plugspace_queue.limits import policies
from plugspace_queue.limits.allowances import allowances
from plugspace_queue.models import Organization, Override, tenancy_queries
from plugspace_queue.models.overrides import LONGEST_AUTHOR, LONGEST_REASON, OverrideQuerySet
from plugspace_queue.publishing import projections
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.schemas.requests import NearMoment
from plugspace_queue.services import arguments
from plugspace_queue.services.lookup import organization_of
from plugspace_queue.services.submission import alias

MOST_GRANTED = 1_000_000_000
"""The largest grant."""

MOST_LISTED = 200

MINUTE = "%Y-%m-%d %H:%M UTC"

LIMITS = (
    "limiter_max",
    "limiter_duration",
    "concurrency",
    "global_concurrency",
    "organization_concurrency",
)
"""The values of a queue that may be overridden."""


class Terms(NamedTuple):
    """Start, end, reason and author."""

    starts_at: datetime
    ends_at: datetime | None
    reason: str
    author: str


def terms(starts: object, until: object, reason: object, author: object) -> Terms:
    """Checked terms; a start that is past means now. Raises ValidationRefused."""
    now = clock.now()
    begin = now if starts is None else max(_moment("starts", starts), now)
    end = None if until is None else _moment("until", until)
    if end is not None and end <= begin:
        refuse("until", _("must be after the start") if begin > now else _("must be in the future"))
    if not isinstance(reason, str) or not reason.strip():
        refuse("reason", _("is needed"))
    return Terms(
        begin,
        end,
        arguments.name("reason", reason, LONGEST_REASON),
        "" if not author else arguments.name("author", author, LONGEST_AUTHOR),
    )


def grant(organization_id: object, task_type: object, amount: object, given: Terms) -> Override:
    """Add to the quota of an organization. Raises ValidationRefused, OrganizationUnknown."""
    units = arguments.whole("amount", amount, 1, MOST_GRANTED)
    return _of_organization(organization_id, task_type, OverrideKey.GRANT, units, given)


def override_quota(
    organization_id: object, task_type: object, quota: object, given: Terms
) -> Override:
    """Put another quota in the place of the tier's; raises as `grant`."""
    units = arguments.whole("quota", quota, UNLIMITED, LARGEST_QUOTA)
    return _of_organization(organization_id, task_type, OverrideKey.QUOTA, units, given)


def override_queue(task_type: object, limits: Mapping[str, Any], given: Terms) -> list[Override]:
    """Put other limits in the place of a queue's, those that are not None; one row for each.

    Raises ValidationRefused.
    """
    kind = arguments.task_type(task_type)
    wanted = {name: value for name, value in limits.items() if value is not None}
    if not wanted:
        refuse("limiter", _("give one of %(names)s") % {"names": ", ".join(limits)})
    values = [_limit(OverrideKey(name), value) for name, value in wanted.items()]
    with transaction.atomic(using=alias()):
        rows = [
            tenancy_queries.add_override(type=kind.value, **columns, **given._asdict())
            for columns in values
        ]
        projections.write_queue_on_commit(kind)
    return rows


def end_override(override_id: object) -> Override:
    """End an override now; one that has not begun never does. Raises NotFound, InvalidState."""
    row, now = override_of(override_id), clock.now()
    row.starts_at, row.ends_at = min(row.starts_at, now), now
    with transaction.atomic(using=alias()):
        rows = Override.objects.filter(pk=row.pk).not_over(now)
        if not rows.update(starts_at=row.starts_at, ends_at=now):
            raise InvalidState(
                _("Override %(row)s has ended already.") % {"row": row.pk}, id=row.pk
            )
        if row.organization_id is None:
            projections.write_queue_on_commit(TaskType(row.type))
    return row


def override_of(override_id: object) -> Override:
    """The override; raises NotFound."""
    found = None
    if type(override_id) is int and 0 < override_id < LARGEST_QUOTA:
        found = tenancy_queries.override_or_none(override_id)
    if found is None:
        raise NotFound(
            _("No override %(override_id)r here.") % {"override_id": str(override_id)[:64]}
        )
    return found


def list_overrides(
    task_type: object = None, organization_id: str | None = None, *, has_ended: bool = False
) -> list[Override]:
    """Overrides of a queue or of an organization, the newest first; at most MOST_LISTED.

    Those in force and to come, or with `has_ended` all. Raises ValidationRefused unless exactly
    one is named, OrganizationUnknown.
    """
    if (task_type is None) == (organization_id is None):
        refuse("type", _("give a task type or an organization, one of them"))
    rows: OverrideQuerySet
    if organization_id is None:
        rows = tenancy_queries.overrides_of_queue(arguments.task_type(task_type).value)
    else:
        rows = tenancy_queries.overrides_of_organization(organization_of(organization_id).pk)
    if not has_ended:
        rows = rows.not_over(clock.now())
    return list(rows.newest_first()[:MOST_LISTED])


def limits_in_force(task_type: TaskType) -> dict[str, Any]:
    """The limits of a queue now, from its rows; to be compared for the audit."""
    held = override_rows.read(task_type.value, clock.now())
    policy = policies.in_force(tenancy_queries.queue_row(task_type.value), held)
    return {name: getattr(policy, name) for name in LIMITS}


def quota_in_force(organization: Organization, task_type: str) -> dict[str, Any]:
    """The quota of an organization now, from its rows; to be compared for the audit."""
    plan = policies.tier_of(organization)
    quota = allowances(organization.pk, plan, clock.now(), [task_type])[task_type].quota
    return {"quota": "no limit" if quota == UNLIMITED else quota}


def audit_text(
    rows: Sequence[Override],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    is_end: bool = False,
) -> str:
    """What was done, with the values in force before and after."""
    first, now = rows[0], clock.now()
    span = f" from {first.starts_at:{MINUTE}}" if first.starts_at > now else ""
    span += f" until {first.ends_at:{MINUTE}}" if first.ends_at and not is_end else ""
    what = f"{first.type} {' and '.join(row.said for row in rows)}"
    change = audit_log.differences(before, after) or "nothing changes now"
    return f"{'ended' if is_end else 'for a while'}: {what}{span} ({change})"


def _of_organization(
    organization_id: object, task_type: object, key: OverrideKey, value: int, given: Terms
) -> Override:
    kind = arguments.task_type(task_type)
    row = organization_of(organization_id)
    return tenancy_queries.add_override(
        organization=row, type=kind.value, key=key, value=value, **given._asdict()
    )


def _limit(key: OverrideKey, value: Any) -> dict[str, Any]:
    if key is not OverrideKey.LIMITER:
        return {"key": key, "value": arguments.whole(key.value, value, 1, MOST)}
    if not isinstance(value, Mapping) or set(value) != {"max", "duration"}:
        refuse(key.value, _("must hold max and duration"))
    return {
        "key": key,
        "value": arguments.whole("limiter.max", value["max"], 1, MOST),
        "duration": arguments.seconds(
            "limiter.duration", value["duration"], SHORTEST_WINDOW, LONGEST_WINDOW
        ),
    }


def _moment(field: str, value: object) -> datetime:
    try:
        found: datetime = shape_of(NearMoment).adapter.validate_python(value)
    except ValidationError as error:
        refuse(field, error.errors(include_url=False)[0]["msg"])
    return found
