"""Who may act for an organization: API keys, issued and revoked, and members."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _

from plugspace_queue.domain.enums import Role, Scope
from plugspace_queue.errors import NotFound
from plugspace_queue.models import ApiKey, Membership, tenancy_queries
from plugspace_queue.schemas.refusals import refuse
from plugspace_queue.services import arguments
from plugspace_queue.services.lookup import organization_of

LONGEST_KEY_NAME = 100
DEFAULT_SCOPES = (Scope.READ, Scope.SUBMIT)


def create_key(
    organization_id: object,
    *,
    scopes: Iterable[object] = DEFAULT_SCOPES,
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key's row and its text, which is not stored.

    Raises OrganizationUnknown, ValidationRefused.
    """
    organization = organization_of(organization_id)
    chosen = list(dict.fromkeys(arguments.word("scopes", scope, Scope).value for scope in scopes))
    if not chosen:
        refuse("scopes", _("must name one at least: %(names)s") % {"names": ", ".join(Scope)})
    if name != "":
        arguments.name("name", name, LONGEST_KEY_NAME)
    if expires_at is not None:
        _require_future(expires_at)
    return ApiKey.issue(organization, chosen, name=name, expires_at=expires_at)


def _require_future(moment: object) -> None:
    if not isinstance(moment, datetime) or timezone.is_naive(moment):
        refuse("expires_at", _("must be a datetime with a time zone"))
    if moment <= timezone.now():
        refuse("expires_at", _("must be in the future"))


def revoke_key(key: object, organization_id: str | None = None) -> ApiKey:
    """End a key at once; one that is revoked already stays as it is. Raises NotFound."""
    key_id = key.pk if isinstance(key, ApiKey) else key
    row = tenancy_queries.key_or_none(key_id) if _is_key_id(key_id) else None
    if row is None or organization_id not in (None, row.organization_id):
        raise NotFound(_("No API key %(key_id)r here.") % {"key_id": str(key_id)[:64]})
    if row.revoked_at is None:
        revoke_keys(tenancy_queries.keys_by_id([row.pk]))
        row.refresh_from_db(fields=["revoked_at"])
    return row


def _is_key_id(key_id: object) -> bool:
    return type(key_id) is int or (
        isinstance(key_id, str) and key_id.isascii() and key_id.isdigit()
    )


def revoke_keys_of(organization_id: object, name: str | None) -> int:
    """End all keys of an organization, or those with this name. Raises OrganizationUnknown."""
    rows = tenancy_queries.keys_of(organization_of(organization_id).pk)
    return revoke_keys(rows if name is None else rows.filter(name=name))


def revoke_keys(rows: "models.QuerySet[ApiKey]") -> int:
    """End these keys; how many were valid until now or had expired."""
    return rows.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())


def set_member(organization_id: object, user: object, role: object) -> Membership:
    """Let a user act for an organization, or change the role.

    Raises OrganizationUnknown, NotFound (user), ValidationRefused (role).
    """
    organization = organization_of(organization_id)
    found = arguments.word("role", role, Role)
    return tenancy_queries.keep_membership(organization, _user(user), found)


def remove_member(organization_id: object, user: object) -> bool:
    """Let a user no longer act for an organization; whether it did. Raises OrganizationUnknown."""
    organization = organization_of(organization_id)
    user_id = user.pk if isinstance(user, models.Model) else user
    return tenancy_queries.delete_membership(organization, user_id)


def _user(user: object) -> Any:
    users: Any = get_user_model()
    user_id = user.pk if isinstance(user, users) else user
    try:
        found = None if user_id is None else users._default_manager.filter(pk=user_id).first()
    except (ValueError, TypeError, ValidationError):
        found = None
    if found is None:
        raise NotFound(
            _("No user with the primary key %(user_id)r.") % {"user_id": str(user_id)[:64]}
        )
    return found
