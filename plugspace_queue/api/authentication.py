"""Identifies the caller: an API key, the project's own callable, or a session.

Organization and user are never taken from the body.
"""

import hmac
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from plugspace_queue.api import tenants
from plugspace_queue.api.parsers import refuse_form, require_length
from plugspace_queue.api.permissions import (
    sees_all_organizations,
    unknown_organization,
    visible_organization,
)
from plugspace_queue.conf import get_settings
from plugspace_queue.domain import permissions
from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.domain.ids import SYSTEM
from plugspace_queue.domain.permissions import TABLE, Verb
from plugspace_queue.domain.tenant import Tenant
from plugspace_queue.errors import (
    AuthenticationRefused,
    PermissionRefused,
    TenantCallableFailed,
    ValidationRefused,
)
from plugspace_queue.models import ApiKey, tenancy_queries
from plugspace_queue.models.organization import KEY_PREFIX

logger = logging.getLogger("plugspace_queue.api")

HEADER = "X-Organization"
CHALLENGE = 'Bearer realm="plugspace"'
LAST_USED_STEP = timedelta(minutes=1)

CredentialKind = Literal["key", "tenant", "member", "staff", "token"]


@dataclass(frozen=True)
class Credential:
    """What a caller presented: a key, a session, METRICS_TOKEN; of a tenant the project knows."""

    kind: CredentialKind
    id: Any
    """Primary key of the API key or of the user; of a tenant its organization and user."""


@dataclass(frozen=True)
class StreamHolder:
    """Who holds streams open: a credential, for an organization; None: staff, for no one."""

    organization_id: str | None
    credential: Credential
    request: HttpRequest | None = None
    """Of a tenant, whom the project's callable is asked about again."""

    @property
    def owner(self) -> str | Credential:
        """Who is charged for a stream: the organization, or the staff user."""
        return self.credential if self.organization_id is None else self.organization_id


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent this request and what it may do."""

    organization_id: str | None
    """None: staff, who see all organizations."""

    user_id: str
    verbs: frozenset[Verb]
    credential: Credential
    is_staff: bool = False
    request: HttpRequest | None = None

    def require(self, verb: Verb) -> None:
        """Raises PermissionRefused for what the caller may not do."""
        if verb in self.verbs:
            return
        rule = TABLE[verb]
        if self.is_staff:
            message = _("This needs the permission %(name)s.") % {"name": rule.permission}
            raise PermissionRefused(message, permission=rule.permission)
        if not rule.scopes:
            raise PermissionRefused(_("This is for staff only."))
        scope = min(rule.scopes).value
        raise PermissionRefused(_("This needs the scope %(name)s.") % {"name": scope}, scope=scope)

    def own_organization(self) -> str:
        """The organization to act for; staff must have named one."""
        if self.organization_id is None:
            raise ValidationRefused(
                _("Name an organization in the header %(header)s.") % {"header": HEADER}
            )
        return self.organization_id

    def holder(self) -> StreamHolder:
        """Who is charged for the streams of this caller."""
        organization_id = None if self.is_staff else self.organization_id
        return StreamHolder(organization_id, self.credential, self.request)

    def names(self) -> dict[str, str]:
        """User and organization of what is submitted; staff must have named one."""
        return {"user_id": self.user_id, "organization_id": self.own_organization()}


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer psq_…`: a key acts for its organization within its scopes."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        key = _bearer_token(request)
        if key is None or (tenants.is_configured() and not key.startswith(KEY_PREFIX)):
            return None
        row = self._row(key)
        self._note_use(row)
        if request.headers.get(HEADER, row.organization_id) != row.organization_id:
            raise unknown_organization()
        return AnonymousUser(), Caller(
            organization_id=row.organization_id,
            user_id=f"key:{row.prefix}",
            verbs=permissions.verbs_of_scopes(map(Scope, row.scopes)),
            credential=Credential("key", row.pk),
        )

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE

    def _row(self, key: str) -> ApiKey:
        known = tenancy_queries.valid_keys(timezone.now())
        row = known.filter(digest=ApiKey.digest_of(key)).first()
        if row is None or row.organization_id == SYSTEM:
            raise AuthenticationRefused(_("This API key is unknown, expired or revoked."))
        return row

    def _note_use(self, row: ApiKey) -> None:
        """Store the time of use at most once a minute, so that reads rarely write."""
        now = timezone.now()
        stale = now - LAST_USED_STEP
        if row.last_used_at is None or row.last_used_at < stale:
            tenancy_queries.note_key_use(row.pk, now, stale)


class MemberAuthentication(SessionAuthentication):
    """A signed-in user: staff by Django's permissions, everybody else by membership."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        signed_in = super().authenticate(request)
        if signed_in is None:
            return None
        user = signed_in[0]
        header = request.headers.get(HEADER)
        is_staff = sees_all_organizations(user)
        return user, _staff(user, header) if is_staff else _member(user, header)

    def enforce_csrf(self, request: Request) -> None:
        require_length(request)
        refuse_form(request)
        super().enforce_csrf(request)


class TenantAuthentication(MemberAuthentication):
    """The tenant that the project's own callable names (the setting TENANT_OF_REQUEST)."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        sent: Any = request._request
        tenant = self._asked(request)
        if tenant is None:
            return None
        if not tenant.csrf_checked:
            self.enforce_csrf(request)
        if request.headers.get(HEADER, tenant.organization_id) != tenant.organization_id:
            raise unknown_organization()
        tenants.require_organization(tenant)
        return getattr(sent, "user", AnonymousUser()), Caller(
            organization_id=tenant.organization_id,
            user_id=tenant.user_id,
            verbs=permissions.verbs_of_role(Role(tenant.role)),
            credential=Credential("tenant", (tenant.organization_id, tenant.user_id)),
            request=sent,
        )

    def _asked(self, request: Request) -> Tenant | None:
        try:
            return tenants.tenant_of(request._request)
        except TenantCallableFailed as error:
            got_request_exception.send(sender=type(self), request=request._request)
            logger.error("%s failed: %s", tenants.PLACE, error.__cause__, exc_info=error.__cause__)
            raise


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <METRICS_TOKEN>`: a scraper that is no user."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        token, sent = get_settings().metrics_token, _bearer_token(request)
        if not token or sent is None or not hmac.compare_digest(sent.encode(), token.encode()):
            return None
        return None, Caller(
            organization_id=None,
            user_id="metrics",
            verbs=frozenset({Verb.VIEW_FLEET}),
            credential=Credential("token", "metrics"),
            is_staff=True,
        )

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _bearer_token(request: Request) -> str | None:
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _staff(user: Any, header: str | None) -> Caller:
    if header is not None:
        visible_organization(header)
    return Caller(
        organization_id=header,
        user_id=str(user.pk),
        verbs=permissions.verbs_of_staff(user),
        credential=Credential("staff", user.pk),
        is_staff=True,
    )


def _member(user: AbstractBaseUser, header: str | None) -> Caller:
    rows = tenancy_queries.memberships_of(user.pk).exclude(organization=SYSTEM)
    if header is not None:
        rows = rows.filter(organization_id=visible_organization(header).pk)
    memberships = list(rows[:2])
    if not memberships and header:
        raise unknown_organization()
    if not memberships:
        raise PermissionRefused(_("You belong to no organization."))
    if len(memberships) > 1:
        raise ValidationRefused(
            _("You belong to several organizations: name one in %(header)s.") % {"header": HEADER}
        )
    return Caller(
        organization_id=memberships[0].organization_id,
        user_id=str(user.pk),
        verbs=permissions.verbs_of_role(Role(memberships[0].role)),
        credential=Credential("member", user.pk),
    )
