"""The Content-Security-Policy of our pages: what a tenant wrote never runs in an operator's tab."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern

HEADER = "Content-Security-Policy"
View = Callable[..., HttpResponseBase]


def policy() -> str:
    """Scripts, styles and pictures from here and from where static files are; nothing inline."""
    here = " ".join(filter(None, ("'self'", _static_origin())))
    return (
        f"default-src 'none'; script-src {here}; style-src {here}; font-src {here}; "
        f"img-src {here} data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'; object-src 'none'"
    )


def guarded(pattern: URLPattern) -> URLPattern:
    """The address with the policy on every answer; a host project's own policy stays."""
    pattern.callback = _with_policy(pattern.callback)
    return pattern


def _with_policy(view: View) -> View:
    @wraps(view)
    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response.headers.setdefault(HEADER, policy())
        return response

    return page


def _static_origin() -> str:
    """Where static files come from when that is another host."""
    parts = urlsplit(settings.STATIC_URL or "")
    return f"{parts.scheme or 'https'}://{parts.netloc}" if parts.netloc else ""
