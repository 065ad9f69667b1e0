"""Permission classes of the views, and what a credential may see; the rules are in `domain`."""

import re
from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from plugspace_queue.domain import permissions
from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.domain.permissions import Verb
from plugspace_queue.errors import AuthenticationRefused, OrganizationUnknown, PermissionRefused
from plugspace_queue.models import Membership, Organization, tenancy_queries
from plugspace_queue.models.organization import ORGANIZATION_ID


class HasVerb(BasePermission):
    """The caller has the verb that the view requires for this request."""

    def has_permission(self, request: Request, view: Any) -> bool:
        caller: Any = request.auth
        if caller is None:
            raise AuthenticationRefused(_("Send an API key: Authorization: Bearer psq_…"))
        caller.require(view.required_verb())
        return True


class CanViewFleet(BasePermission):
    """Staff or the metrics token: the figures are of all organizations, and a key is of one."""

    def has_permission(self, request: Request, view: Any) -> bool:
        caller: Any = request.auth
        if caller is None:
            raise AuthenticationRefused(_("Send METRICS_TOKEN as a bearer token."))
        if Verb.VIEW_FLEET not in caller.verbs:
            raise PermissionRefused(_("This is for staff and for METRICS_TOKEN."))
        return True


def sees_all_organizations(user: Any) -> bool:
    """Whether a user is staff that may view every organization."""
    return bool(user.is_staff and permissions.staff_may(user, Verb.VIEW))


def key_may_view(scopes: Iterable[str]) -> bool:
    """Whether an API key with these scopes may read."""
    return Verb.VIEW in permissions.verbs_of_scopes(map(Scope, scopes))


def member_may_view(membership: Membership) -> bool:
    """Whether the member's user is active and its role may read."""
    user: Any = membership.user
    return user.is_active and role_may_view(membership.role)


def role_may_view(role: str) -> bool:
    """Whether members with this role may read."""
    return Verb.VIEW in permissions.verbs_of_role(Role(role))


def visible_organization(organization_id: str, only: str | None = None) -> Organization:
    """The organization of an id from a URL or a header.

    `only` is the one organization that the caller may see; None: all. Raises OrganizationUnknown.
    """
    if only not in (None, organization_id):
        raise unknown_organization()
    # Checked before the query: PostgreSQL refuses some characters that HTTP can carry.
    if re.fullmatch(ORGANIZATION_ID, organization_id):
        row = tenancy_queries.organization_with_tier(organization_id)
        if row is not None:
            return row
    raise unknown_organization()


def unknown_organization() -> OrganizationUnknown:
    """The same answer for another caller's organization and for one that does not exist."""
    return OrganizationUnknown(_("No such organization among yours."))
