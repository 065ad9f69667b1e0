"""The gates before validation: is the organization there and active, has it requests left."""

import re
from typing import NamedTuple

from plugspace_queue import limits
from plugspace_queue.errors import OrganizationSuspended, OrganizationUnknown
from plugspace_queue.models import Organization
from plugspace_queue.models.organization import ORGANIZATION_ID
from plugspace_queue.policies import Plan, tier_of

_ORGANIZATION_ID = re.compile(ORGANIZATION_ID.replace("$", r"\Z"))


class Admitted(NamedTuple):
    """An active organization and what it gets."""

    organization: Organization
    plan: Plan


def admit(organization_id: object, *, limit_requests: bool) -> Admitted:
    """Pass the organization through the first gates, counting one request.

    Raises OrganizationUnknown, OrganizationSuspended, RequestRateLimited.
    """
    organization = known(organization_id)
    if organization.is_suspended:
        raise OrganizationSuspended(organization_id=organization.pk)
    plan = tier_of(organization)
    if limit_requests:
        limits.hit(organization.pk, plan)
    return Admitted(organization, plan)


def known(organization_id: object) -> Organization:
    """The organization with its tier; raises OrganizationUnknown."""
    found = None
    if is_organization_id(organization_id):
        found = Organization.objects.select_related("tier").filter(pk=organization_id).first()
    if found is None:
        raise OrganizationUnknown(
            f"No organization {str(organization_id)[:64]!r}; create it with"
            " queue_manager.set_organization(id, tier=...)."
        )
    return found


def is_organization_id(value: object) -> bool:
    """Whether a value can be the id of an organization."""
    return isinstance(value, str) and _ORGANIZATION_ID.match(value) is not None
