"""The header Idempotency-Key: a repeated submit answers 200 with the first one's row."""

from rest_framework.request import Request

from plugspace_queue.errors import ValidationRefused

HEADER = "Idempotency-Key"
LONGEST = 240


def idempotency_key(request: Request) -> str | None:
    """The caller's key, or None. Raises ValidationRefused for an empty or too long one."""
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= LONGEST and key.isprintable()):
        raise ValidationRefused(f"{HEADER} must be 1 to {LONGEST} printable characters.")
    return key
