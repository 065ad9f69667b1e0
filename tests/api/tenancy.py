"""The authentication of a project of its own: a token in a header, or a cookie."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from plugspace_queue.conf import Tenant

HEADER, COOKIE = "X-Shop-Token", "shop"


@dataclass
class Shop:
    """What the project knows of its tokens; a test fills it."""

    tenants: dict[str, Any] = field(default_factory=dict)
    asked_in: list[str] = field(default_factory=list)
    """Names of the threads in which it was asked."""


shop = Shop()


def tenant_of(request: HttpRequest) -> Any:
    """What TENANT_OF_REQUEST names."""
    shop.asked_in.append(threading.current_thread().name)
    token = request.headers.get(HEADER) or request.COOKIES.get(COOKIE)
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    found = shop.tenants.get(token or bearer)
    if isinstance(found, Exception):
        raise found
    return found() if isinstance(found, Callable) else found  # type: ignore[arg-type]


async def awaited(request: HttpRequest) -> Any:
    """A coroutine function, which the API does not take."""


def of_session(request: HttpRequest) -> Tenant | None:
    """Users of the project by their session, as its own middleware finds them."""
    if not request.user.is_authenticated or not request.user.is_active:
        return None
    return Tenant("acme", f"user-{request.user.pk}", "member")
