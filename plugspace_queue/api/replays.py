"""The header Idempotency-Key: a repeated submit answers 200 with the first one's row."""

from collections.abc import Sequence

from rest_framework.request import Request

from plugspace_queue.errors import ValidationRefused
from plugspace_queue.models import IdempotencyKey

HEADER = "Idempotency-Key"
LONGEST = 240


def idempotency_key(request: Request) -> str | None:
    """The caller's key, or None. Raises ValidationRefused for an empty or too long one."""
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= LONGEST and key.isprintable()):
        raise ValidationRefused(f"{HEADER} must be 1 to {LONGEST} printable characters.")
    return key


def has_seen(organization_id: str, keys: Sequence[str | None]) -> bool:
    """Whether every one of these keys was used before; decides 200 or 201, nothing else."""
    given = {key for key in keys if key is not None}
    if not given or None in keys:
        return False
    known = IdempotencyKey.objects.filter(organization_id=organization_id, key__in=given)
    return known.count() == len(given)
