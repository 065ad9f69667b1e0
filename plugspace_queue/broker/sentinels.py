"""Whether an entry of RQ_QUEUES names Sentinels as it must, read from the setting alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plugspace_queue.broker.connection import SafeSentinelConnection


def faults(config: Mapping[str, Any]) -> Iterator[str]:
    """What no client can work with; nothing for an entry without Sentinels."""
    if "SENTINELS" not in config:
        return
    sentinels = config["SENTINELS"]
    if not (_is_list(sentinels) and sentinels and all(map(_is_address, sentinels))):
        yield f"SENTINELS is {sentinels!r}, not a list of (host, port)"
    if not config.get("MASTER_NAME"):
        yield "MASTER_NAME is missing: the service as the Sentinels monitor it"


def is_safe(config: Mapping[str, Any]) -> bool:
    """Whether its connections survive a failover and end with their worker."""
    kind = (config.get("CONNECTION_KWARGS") or {}).get("connection_class")
    is_class = isinstance(kind, type) and issubclass(kind, SafeSentinelConnection)
    return "SENTINELS" not in config or is_class


def _is_address(entry: Any) -> bool:
    if not (_is_list(entry) and len(entry) == 2):
        return False
    host, port = entry
    is_port = isinstance(port, int) or (isinstance(port, str) and port.isdigit())
    return isinstance(host, str) and bool(host) and is_port and 0 < int(port) < 65_536


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
