"""Serves published sites: only what lies below their folder, and nothing in them may run."""

import mimetypes
import os
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import conditional_page, require_safe

from project.agents.delivery.publish import LINKS, PREVIEW

# The sites of tenants share an origin with the admin: the sandbox takes that origin from them.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' mailto:; "
    "base-uri 'none'; frame-ancestors 'self'; "
    "sandbox allow-forms allow-popups allow-top-navigation-by-user-activation"
)
LONGEST_NAME = 255
LONGEST_PATH = 1_000
TEXTS = {".html", ".css", ".svg", ".txt", ".md", ".py"}


def sites_root() -> Path:
    """The folder of all published sites: PLUGSPACE_SITES_ROOT, else var/sites."""
    given = getattr(settings, "PLUGSPACE_SITES_ROOT", None)
    return Path(given) if given else Path(settings.BASE_DIR) / "var" / "sites"


@require_safe
@conditional_page
@xframe_options_sameorigin
def serve(request: HttpRequest, path: str) -> HttpResponseBase:
    """A file of `<organization>/<site>/…`; a folder means its index.html."""
    file = _find(path)
    if file.is_dir():
        if not request.path.endswith("/"):
            return HttpResponseRedirect(f"{request.path}/")
        file = file / "index.html"
    if not file.is_file():
        raise Http404("There is no such page.")
    return _answer(file)


def _find(path: str) -> Path:
    """The file a path means. Raises Http404 for everything outside the published version."""
    parts = PurePosixPath(path).parts
    if _size(path) > LONGEST_PATH or len(parts) < 2 or not all(map(_is_plain, parts)):
        raise Http404("There is no such site.")
    organization, site, *rest = parts
    link = LINKS["preview" if rest[:1] == [PREVIEW] else "production"]
    base = (sites_root() / organization / site / link).resolve()
    inside = rest[1:] if rest[:1] == [PREVIEW] else rest
    found = base.joinpath(*inside).resolve()
    if not base.is_relative_to(sites_root().resolve()) or not found.is_relative_to(base):
        raise Http404("There is no such page.")
    return found


def _is_plain(part: str) -> bool:
    is_short = _size(part) <= LONGEST_NAME
    return part not in ("..", ".") and is_short and not set(part) & {"\\", "\0"}


def _size(text: str) -> int:
    """In bytes, as file systems count: to them a longer name is an error, not a missing file."""
    return len(os.fsencode(text))


def _answer(file: Path) -> HttpResponse:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    if file.suffix in TEXTS:
        kind = f"{kind if kind.startswith(('text/', 'image/')) else 'text/plain'}; charset=utf-8"
    response = HttpResponse(file.read_bytes(), content_type=kind)
    response["Content-Security-Policy"] = POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-cache"
    return response
