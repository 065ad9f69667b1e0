"""Bodies: JSON only, read up to the limit of the view and never beyond."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request, is_form_media_type

from plugspace_queue.api.exceptions import LengthRequired, UnsupportedMediaType
from plugspace_queue.conf import get_settings
from plugspace_queue.errors import PayloadTooLarge

# Room for everything of a body that is not the input.
ENVELOPE = 64 * 1024


class LimitedJSONParser(BaseParser):
    """JSON of at most the view's `max_body` bytes, whatever Content-Length says.

    Not REST framework's JSONParser: what derives from that gets the body through
    `HttpRequest.body`, which refuses more than DATA_UPLOAD_MAX_MEMORY_SIZE. That setting is the
    host's and guards its own views; here the limit of the view bounds what is read.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        context = parser_context or {}
        limit = context["view"].max_body or get_settings().max_input + ENVELOPE
        if _announced(context["request"]) > limit:
            raise _too_large(limit)
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise _too_large(limit)
        try:
            return _loads(data)
        except (ValueError, RecursionError) as error:
            raise ParseError(
                _("The body is not valid JSON: %(error)s") % {"error": error}
            ) from error


def require_length(request: Request) -> None:
    """Raises LengthRequired for a body without a length.

    Django and REST framework take such a body for an empty one.
    """
    if request.META.get("CONTENT_LENGTH"):
        return
    # Over HTTP/2 there is no Transfer-Encoding; under ASGI the body can still be read.
    if request.META.get("HTTP_TRANSFER_ENCODING") or request.read(1):
        raise LengthRequired


def refuse_form(request: Request) -> None:
    """Raises UnsupportedMediaType for a form with content, before anything reads it.

    The check for CSRF reads a form in search of its token: fields into memory, files to the disk.
    """
    if is_form_media_type(request.content_type) and _announced(request):
        raise UnsupportedMediaType


def _announced(request: Request) -> int:
    # WSGI and ASGI handlers of Django read the same variable, and take other text for 0.
    text = request.META.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isascii() and text.isdigit() else 0


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(_("The body is larger than the limit."), limit=limit)


def _loads(data: bytes) -> Any:
    # Strict as DRF's own: NaN and Infinity are no JSON.
    return json.loads(
        data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates
    )


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers disagree on which of two equal keys counts: what a proxy checked before us might not
    # be what we read.
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _value in pairs)
        key = next(key for key, count in counts.items() if count > 1)
        raise ValueError(_("the key %(key)r stands twice in one object") % {"key": key[:100]})
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(_("%(name)s is not JSON") % {"name": name})
