"""Addresses that nobody may have this server connect to. Spec of the ranges: IANA's special-purpose registries."""

import functools
import ipaddress
from typing import Final

import msgspec

# 64:ff9b::/96 leads to the IPv4 address in its last 32 bits.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

# What wraps an IPv4 address in other ways is never the address of a server: IPv4-compatible (which holds :: and
# ::1), IPv4-mapped, local-use NAT64, 6to4, Teredo.
_WRAPPED: Final = tuple(
    map(
        ipaddress.IPv6Network,
        ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    )
)

_SITE_LOCAL: Final = ipaddress.IPv6Network("fec0::/10")

# Protocol assignments, and relays to 6to4.
_NOT_SERVERS: Final = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")))


class AddressPolicy(msgspec.Struct, frozen=True):
    """Which addresses may be connected to: public ones, and with `allow_private` those of closed networks too."""

    allow_private: bool = False

    def allows(self, address: str) -> bool:
        """Whether a connection to `address`, a literal without brackets, may be opened."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if parsed.is_multicast or parsed.is_unspecified:
            return False
        return self.allow_private or _is_public(parsed)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address in _SITE_LOCAL or any(address in network for network in _WRAPPED):
            return False
    elif any(address in network for network in _NOT_SERVERS):
        return False
    # `is_global` leaves out private, loopback, link-local and documentation ranges, and carriers' NAT.
    return address.is_global and not (address.is_reserved or address.is_multicast)


@functools.lru_cache(10_000)
def is_ip_literal(host: str) -> bool:
    """Whether a host, without brackets, is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
