"""Where a project has put our URLs: at its root, below a prefix, or within another include."""

from typing import Any

from django.urls import get_resolver, reverse

APP = "plugspace_queue"


def address(name: str, *args: object, urlconf: str | None = None) -> str:
    """The path of one of our URLs by its name; raises NoReverseMatch where they are not included.

    Of several includes the first one counts. A request that came through one of them should ask
    its own `resolver_match.namespace` instead.
    """
    return reverse(f"{_namespace(get_resolver(urlconf)) or APP}:{name}", urlconf, args=args)


def _namespace(resolver: Any) -> str:
    """The namespaces that lead to our URLs, joined; empty when they are not there."""
    if APP in resolver.app_dict:
        return str(resolver.app_dict[APP][0])
    for outer, (_, inner) in resolver.namespace_dict.items():
        if found := _namespace(inner):
            return f"{outer}:{found}"
    return ""
