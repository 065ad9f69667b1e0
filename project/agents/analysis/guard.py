"""Decides which addresses may be asked: the public web, and nothing behind our own walls."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from plugspace_queue.errors import ExternalServiceError, ValidationFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's registries of special-purpose addresses, and what was given up without being one there.
# By hand, because what Python's `is_global` knows differs from version to version.
CLOSED = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by customers of a provider
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, among them the clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # IETF protocol assignments, among them Teredo, which wraps IPv4
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which wraps IPv4
        "3fff::/20",  # documentation
    )
]
# Nothing outside is given to hosts of the internet: not fc00::/7, fe80::/10, fec0::/10, ::/8.
UNICAST = ipaddress.ip_network("2000::/3")
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
    """Whether an address, also an IPv4 one wrapped in IPv6, is on the public internet."""
    address = _unwrapped(ipaddress.ip_address(text.split("%")[0]))
    if isinstance(address, ipaddress.IPv6Address) and address not in UNICAST:
        return False
    return address.is_global and not any(address in network for network in CLOSED)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


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
