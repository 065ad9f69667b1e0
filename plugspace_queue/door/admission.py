"""The gates before validation: is the organization there and active, has it requests left."""

import json
import re
from typing import Any, NamedTuple

from django.db import connections, router

from plugspace_queue import limits
from plugspace_queue.db.recordset import prepared_cursor
from plugspace_queue.errors import OrganizationSuspended, OrganizationUnknown
from plugspace_queue.models import Organization, TierPolicy
from plugspace_queue.models.organization import ORGANIZATION_ID
from plugspace_queue.policies import Plan, plan_of

_ORGANIZATION_ID = re.compile(ORGANIZATION_ID.replace("$", r"\Z"))


class Admitted(NamedTuple):
    """An active organization and what it gets."""

    organization_id: str
    plan: Plan


# On every submit's way: making this statement anew each time would cost more than running it.
_LOOKUP = f"""
    SELECT o.is_suspended, t.slug, t.priority, t.quotas, t.request_limit, t.request_window
    FROM {Organization._meta.db_table} o
    LEFT JOIN {TierPolicy._meta.db_table} t ON t.slug = o.tier_id
    WHERE o.id = %s
"""


def admit(organization_id: object, *, limit_requests: bool) -> Admitted:
    """Pass the organization through the first gates, counting one request.

    Raises OrganizationUnknown, OrganizationSuspended, RequestRateLimited.
    """
    row = _looked_up(organization_id) if is_organization_id(organization_id) else None
    if row is None:
        raise _unknown(organization_id)
    admitted = Admitted(str(organization_id), plan_of(_tier(*row[1:])))
    if row[0]:
        raise OrganizationSuspended(organization_id=organization_id)
    if limit_requests:
        limits.hit(admitted.organization_id, admitted.plan)
    return admitted


def _looked_up(organization_id: object) -> tuple[Any, ...] | None:
    with prepared_cursor(connections[router.db_for_write(Organization)]) as cursor:
        cursor.execute(_LOOKUP, [str(organization_id)])
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _tier(slug: str | None, priority: int, quotas: str, limit: int, window: float) -> Any:
    if slug is None:
        return None
    return TierPolicy(
        slug=slug,
        priority=priority,
        quotas=json.loads(quotas),
        request_limit=limit,
        request_window=window,
    )


def known(organization_id: object) -> Organization:
    """The organization with its tier; raises OrganizationUnknown."""
    found = None
    if is_organization_id(organization_id):
        found = Organization.objects.select_related("tier").filter(pk=organization_id).first()
    if found is None:
        raise _unknown(organization_id)
    return found


def _unknown(organization_id: object) -> OrganizationUnknown:
    return OrganizationUnknown(
        f"No organization {str(organization_id)[:64]!r}; create it with"
        " queue_manager.set_organization(id, tier=...)."
    )


def is_organization_id(value: object) -> bool:
    """Whether a value can be the id of an organization."""
    return isinstance(value, str) and _ORGANIZATION_ID.match(value) is not None
