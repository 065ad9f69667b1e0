"""Stores exports in Redis, within a budget per organization; both keys expire together."""

from redis import Redis

from plugspace_queue.broker import keys, scripts
from plugspace_queue.broker.connection import guarded
from plugspace_queue.broker.scripts import Call
from plugspace_queue.conf import get_settings

STEPS = 24
"""Number of parts of EXPORT_TTL; exports that expire in the same part are counted together."""


def keep_export(
    client: Redis,
    export_id: str,
    data: bytes,
    *,
    organization_id: str,
    ttl: int,
    meta: dict[str, str],
) -> bool:
    """Store data and its description for `ttl` seconds; False above the organization's budget.

    Raises Unavailable.
    """
    conf = get_settings()
    names = (
        keys.export(export_id),
        keys.export_meta(export_id),
        keys.organization_exports(organization_id),
    )
    step = max(-(-conf.export_ttl // STEPS), 1)
    words = [word for pair in meta.items() for word in pair]
    call = Call("keep_export", names, (data, ttl, conf.export_budget or 0, step, *words), bool)
    return bool(scripts.run(client, [call])[0])


@guarded
def get(client: Redis, export_id: str) -> tuple[bytes, dict[str, str], int] | None:
    """Data, description, seconds left; None when it has expired. Raises Unavailable."""
    with client.pipeline(transaction=True) as pipe:
        pipe.get(keys.export(export_id))
        pipe.hgetall(keys.export_meta(export_id))
        pipe.ttl(keys.export(export_id))
        data, meta, ttl = pipe.execute()
    if data is None or not meta:
        return None
    return data, {key.decode(): value.decode() for key, value in meta.items()}, max(int(ttl), 0)
