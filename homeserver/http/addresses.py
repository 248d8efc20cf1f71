"""Whose address a request counts for."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final, Self, TypeAlias

import msgspec

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOPBACK: Final[Sequence[Network]] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)


def plain_address(text: str) -> str:
    """An address in its usual form: no zone, IPv4 not dressed up as IPv6; other text stays as it is."""
    address = _parse(text)
    return text if address is None else str(address)


def rate_limited_address(text: str) -> str:
    """What one customer of a network provider has: an IPv4 address, or the /64 network of an IPv6 address."""
    address = _parse(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return text if address is None else str(address)


class TrustedProxies(msgspec.Struct, frozen=True):
    """Reverse proxies whose `X-Forwarded-For` is believed; anyone else may write there what they like."""

    networks: Sequence[Network] = LOOPBACK

    @classmethod
    def of(cls, networks: Iterable[str]) -> Self:
        """From addresses or networks as text, such as `10.0.0.1` and `10.0.0.0/24`. Errors: ValueError."""
        return cls(tuple(ipaddress.ip_network(network) for network in networks))

    def client_address(self, peer: str, forwarded_for: Iterable[bytes]) -> str:
        """The client's address, given the peer's and all values of `X-Forwarded-For`.

        Each proxy appends the address it was asked by. Read from the end, the first address that is no
        trusted proxy is the client's: what stands before it, the client may have made up.
        """
        client = peer
        entries = [entry.strip() for value in forwarded_for for entry in value.decode("latin-1").split(",")]
        while entries and self._trusts(client):
            address = _parse(_without_port(entries.pop()))
            if address is None:
                break
            client = str(address)
        return client

    def _trusts(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self.networks)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(entry: str) -> str:
    """Some proxies write `1.2.3.4:567` and `[::1]:567`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
