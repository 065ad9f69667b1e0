"""Bytes of exports in Redis; both keys expire together."""

from redis import Redis

from plugspace_queue import keys
from plugspace_queue.engine.connection import guarded


@guarded
def put(client: Redis, export_id: str, data: bytes, *, ttl: int, meta: dict[str, str]) -> None:
    """Store data and its description for `ttl` seconds. Raises Unavailable."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys.export(export_id), data, ex=ttl)
        pipe.hset(
            keys.export_meta(export_id), items=[word for pair in meta.items() for word in pair]
        )
        pipe.expire(keys.export_meta(export_id), ttl)
        pipe.execute()


@guarded
def get(client: Redis, export_id: str) -> tuple[bytes, dict[str, str], int] | None:
    """Data, description, seconds left; None when it is gone. Raises Unavailable."""
    with client.pipeline(transaction=True) as pipe:
        pipe.get(keys.export(export_id))
        pipe.hgetall(keys.export_meta(export_id))
        pipe.ttl(keys.export(export_id))
        data, meta, ttl = pipe.execute()
    if data is None or not meta:
        return None
    return data, {key.decode(): value.decode() for key, value in meta.items()}, max(int(ttl), 0)
