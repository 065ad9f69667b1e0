"""Asks the project's own callable who sent a request: `TENANT_OF_REQUEST`."""

import copy
import functools
import logging
from collections.abc import Callable
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string
from rest_framework import exceptions

from plugspace_queue.api.permissions import unknown_organization
from plugspace_queue.conf import SETTING, get_settings
from plugspace_queue.domain.enums import Role
from plugspace_queue.domain.tenant import Tenant
from plugspace_queue.errors import QueueError, TenantCallableFailed
from plugspace_queue.limits.policies import is_organization_id
from plugspace_queue.models import tenancy_queries
from plugspace_queue.services import arguments
from plugspace_queue.services.organizations import set_organization

logger = logging.getLogger("plugspace_queue.api")

PLACE = f"{SETTING}['TENANT_OF_REQUEST']"

ANSWERS = (
    QueueError,
    exceptions.NotAuthenticated,
    exceptions.AuthenticationFailed,
    exceptions.PermissionDenied,
    PermissionDenied,
    OperationalError,
    InterfaceError,
)
"""What the callable may raise: each has an answer of its own (401, 403, 503)."""

Ask = Callable[[HttpRequest], Any]


@functools.lru_cache(maxsize=8)
def _imported(path: str) -> Ask:
    found: Ask = import_string(path)
    return found


def is_configured() -> bool:
    """Whether the project has a callable."""
    return bool(get_settings().tenant_of_request)


def tenant_of(request: HttpRequest) -> Tenant | None:
    """Who sent the request, or None when the callable does not know it.

    Raises TenantCallableFailed when it raises or returns what is no Tenant, and what is in
    ANSWERS.
    """
    try:
        found = _imported(get_settings().tenant_of_request)(request)
        return None if found is None else _checked(found)
    except ANSWERS:
        raise
    except Exception as error:
        raise TenantCallableFailed from error


def _checked(found: Any) -> Tenant:
    if not isinstance(found, Tenant):
        raise TypeError(f"{PLACE} returned {found!r}, which is neither a Tenant nor None.")
    if not is_organization_id(found.organization_id):
        raise ValueError(f"{PLACE}: {found.organization_id!r} cannot be an organization's id.")
    flags = (found.csrf_checked, found.create)
    if any(type(flag) is not bool for flag in flags):
        raise TypeError(f"{PLACE}: csrf_checked and create are True or False, not {flags!r}.")
    try:
        arguments.name("user_id", found.user_id)
    except QueueError as error:
        raise ValueError(f"{PLACE}: {error}") from error
    return Tenant(
        found.organization_id, found.user_id, Role(found.role), found.csrf_checked, found.create
    )


def require_organization(tenant: Tenant) -> None:
    """Raises OrganizationUnknown when it is missing and not to be made."""
    if tenancy_queries.organization_or_none(tenant.organization_id) is not None:
        return
    if not tenant.create:
        raise unknown_organization()
    set_organization(tenant.organization_id)


def tenant_now(request: HttpRequest) -> Tenant | None:
    """Who sent a request that was answered a while ago, by what is true now.

    The callable gets a copy, for which the session and its user are read anew.
    """
    again = copy.copy(request)
    session = getattr(request, "session", None)
    if isinstance(session, SessionBase):
        again.session = type(session)(session.session_key)
        if SESSION_KEY in session:
            for name in ("_cached_user", "_acached_user"):
                vars(again).pop(name, None)
            again.user = SimpleLazyObject(lambda: get_user(again))  # type: ignore[assignment]
    return tenant_of(again)
