"""Who calls: an API key, or a session of a member or of staff. Nothing is taken from the body."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from plugspace_queue.api.caps import Credential, Holder
from plugspace_queue.api.parsers import refuse_form, require_length
from plugspace_queue.domain import permissions
from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.domain.permissions import TABLE, Verb
from plugspace_queue.errors import (
    AuthenticationRefused,
    OrganizationUnknown,
    PermissionRefused,
    ValidationRefused,
)
from plugspace_queue.models import ApiKey, Membership, Organization
from plugspace_queue.models.organization import ORGANIZATION_ID

HEADER = "X-Organization"
LAST_USED_STEP = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whose request this is and what it may do."""

    organization_id: str | None
    """None: staff, who see all organizations."""

    user_id: str
    verbs: frozenset[Verb]
    credential: Credential
    is_staff: bool = False

    def require(self, verb: Verb) -> None:
        """Raises PermissionRefused for what the caller may not do."""
        if verb in self.verbs:
            return
        rule = TABLE[verb]
        if self.is_staff:
            codename = rule.permission
            raise PermissionRefused(f"This needs the permission {codename}.", permission=codename)
        if not rule.scopes:
            raise PermissionRefused("This is for staff only.")
        scope = min(rule.scopes)
        raise PermissionRefused(f"This needs the scope {scope}.", scope=scope.value)

    def own_organization(self) -> str:
        """The organization to act for; staff must have named one."""
        if self.organization_id is None:
            raise ValidationRefused(f"Name an organization in the header {HEADER}.")
        return self.organization_id

    def holder(self) -> Holder:
        """Whose the streams are that this caller opens; those of staff are no organization's."""
        return Holder(None if self.is_staff else self.organization_id, self.credential)

    def names(self) -> dict[str, str]:
        """User and organization of what is submitted; staff must have named one."""
        return {"user_id": self.user_id, "organization_id": self.own_organization()}


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer psq_…`: a key acts for its organization within its scopes."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        row = self._row(key.strip())
        self._touch(row)
        asked = request.headers.get(HEADER, row.organization_id)
        if asked != row.organization_id:
            raise not_yours()
        return AnonymousUser(), Caller(
            organization_id=row.organization_id,
            user_id=f"key:{row.prefix}",
            verbs=permissions.verbs_of_scopes(map(Scope, row.scopes)),
            credential=Credential("key", row.pk),
        )

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="plugspace"'

    def _row(self, key: str) -> ApiKey:
        row = ApiKey.objects.valid(timezone.now()).filter(digest=ApiKey.digest_of(key)).first()
        if row is None:
            raise AuthenticationRefused("This API key is unknown, expired or revoked.")
        return row

    def _touch(self, row: ApiKey) -> None:
        """Note the use, at most once a minute, so that reading stays reading."""
        now = timezone.now()
        stale = now - LAST_USED_STEP
        if row.last_used_at is None or row.last_used_at < stale:
            due = Q(last_used_at__isnull=True) | Q(last_used_at__lt=stale)
            ApiKey.objects.filter(due, pk=row.pk).update(last_used_at=now)


class MemberAuthentication(SessionAuthentication):
    """A signed-in user: staff by Django's permissions, everybody else by membership."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        signed_in = super().authenticate(request)
        if signed_in is None:
            return None
        user = signed_in[0]
        asked = request.headers.get(HEADER)
        return user, _staff(user, asked) or _member(user, asked)

    def enforce_csrf(self, request: Request) -> None:
        require_length(request)
        refuse_form(request)
        super().enforce_csrf(request)


def _staff(user: Any, asked: str | None) -> Caller | None:
    if not sees_all(user):
        return None
    if asked is not None:
        organization(asked)
    return Caller(
        organization_id=asked,
        user_id=str(user.pk),
        verbs=permissions.verbs_of_staff(user),
        credential=Credential("staff", user.pk),
        is_staff=True,
    )


def _member(user: AbstractBaseUser, asked: str | None) -> Caller:
    found = Membership.objects.filter(user_id=user.pk)
    if asked is not None:
        found = found.filter(organization_id=organization(asked).pk)
    memberships = list(found[:2])
    if not memberships:
        raise not_yours() if asked else PermissionRefused("You belong to no organization.")
    if len(memberships) > 1:
        raise ValidationRefused(f"You belong to several organizations: name one in {HEADER}.")
    return Caller(
        organization_id=memberships[0].organization_id,
        user_id=str(user.pk),
        verbs=permissions.verbs_of_role(Role(memberships[0].role)),
        credential=Credential("member", user.pk),
    )


def sees_all(user: Any) -> bool:
    """Whether a user is staff that may look at every organization."""
    return bool(user.is_staff and permissions.staff_may(user, Verb.VIEW))


def key_may_read(scopes: Iterable[str]) -> bool:
    """Whether an API key with these scopes grants reading."""
    return Verb.VIEW in permissions.verbs_of_scopes(map(Scope, scopes))


def may_read(membership: Membership) -> bool:
    """Whether its user is active and its role grants reading."""
    user: Any = membership.user
    return user.is_active and Verb.VIEW in permissions.verbs_of_role(Role(membership.role))


def organization(asked: str) -> Organization:
    """The organization of an id from an address or a header. Raises OrganizationUnknown."""
    # Looked at before the database is asked: PostgreSQL refuses some of what HTTP can carry.
    if re.fullmatch(ORGANIZATION_ID, asked):
        row = Organization.objects.select_related("tier").filter(pk=asked).first()
        if row is not None:
            return row
    raise not_yours()


def not_yours() -> OrganizationUnknown:
    """The same words for a foreign organization and for one that does not exist."""
    return OrganizationUnknown("No such organization among yours.")
