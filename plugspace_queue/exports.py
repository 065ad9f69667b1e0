"""Temporary files of EXPORT tasks: bytes in Redis with a time to live."""

from dataclasses import dataclass

from plugspace_queue.broker import exports as store
from plugspace_queue.broker.connection import client
from plugspace_queue.conf import get_settings
from plugspace_queue.errors import PayloadTooLarge


@dataclass(frozen=True, kw_only=True)
class Export:
    """A stored file; `ttl` is the seconds it has left."""

    export_id: str
    organization_id: str
    filename: str
    data: bytes
    ttl: int


def put(
    export_id: str,
    data: bytes,
    *,
    filename: str,
    organization_id: str,
    ttl: int | None = None,
) -> None:
    """Keep a file for `ttl` seconds (EXPORT_TTL when None).

    Raises PayloadTooLarge above the organization's EXPORT_BUDGET, Unavailable without Redis.
    """
    is_kept = store.keep_export(
        client(),
        export_id,
        data,
        organization_id=organization_id,
        ttl=ttl or get_settings().export_ttl,
        meta={"filename": filename, "organization_id": organization_id},
    )
    if not is_kept:
        raise PayloadTooLarge(
            f"An export of {len(data)} bytes is more than the EXPORT_BUDGET of"
            f" {get_settings().export_budget} bytes leaves; earlier ones give room as they expire."
        )


def get(export_id: str, organization_id: str | None = None) -> Export | None:
    """The file, or None when it is gone or another organization's (None: staff, any)."""
    found = store.get(client(), export_id)
    if found is None:
        return None
    data, meta, ttl = found
    if organization_id is not None and meta["organization_id"] != organization_id:
        return None
    return Export(
        export_id=export_id,
        organization_id=meta["organization_id"],
        filename=meta["filename"],
        data=data,
        ttl=ttl,
    )
