"""Decides which addresses may be asked: the public web, and nothing behind our own walls."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from plugspace_queue.errors import ExternalServiceError, ValidationFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Target:
    """A checked url and the one address its name was resolved to; only that one is connected to."""

    url: str
    scheme: str
    host: str
    port: int
    address: str
    path: str


def target_of(url: str, *, allow_private: bool) -> Target:
    """Resolve and check. Raises ValidationFailed for what may not be asked."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValidationFailed(f"Only http and https addresses can be analysed, not {url[:200]!r}.")
    port = _port(parts)
    address = _resolve(parts.hostname, port)
    if not allow_private and not is_public(address):
        raise ValidationFailed(f"{parts.hostname} is not on the public internet.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(url, parts.scheme, parts.hostname, port, address, path)


def is_public(text: str) -> bool:
    """Whether an address, also one wrapped in IPv6, is on the public internet."""
    address = _unwrapped(ipaddress.ip_address(text.split("%")[0]))
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ValidationFailed(f"The port of {parts.netloc!r} is not one.") from error


def _resolve(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise ValidationFailed(f"{host[:100]!r} is not a host name.") from error
    except OSError as error:
        raise ExternalServiceError(f"The name {host} could not be resolved.") from error
    return str(found[0][4][0])
