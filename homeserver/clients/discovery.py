"""Where the server of a name is reached, and as whom. Spec: server-server API, "Resolving server names"."""

import functools
import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from homeserver.clients.addresses import is_ip_literal
from homeserver.clients.resolver import ResolutionError, Resolver, Service
from homeserver.clients.routes import Route, Target
from homeserver.clients.well_known import WellKnown
from homeserver.core.identifiers import ServerName

DEFAULT_PORT: Final = 8448

SERVICES: Final = ("_matrix-fed._tcp", "_matrix._tcp")
"""The names of SRV records, in the order in which they are looked for; the second is deprecated."""

MOST_TARGETS: Final = 8
"""How many SRV records are tried."""


class Discovery(msgspec.Struct, frozen=True):
    """Finds servers. `chance` gives numbers from 0 up to 1."""

    resolver: Resolver
    well_known: WellKnown
    chance: Callable[[], float] = random.random

    async def route(self, server_name: ServerName) -> Route:
        """How to reach a server. Whether it is there is for who connects to find out."""
        host, port = split(server_name)
        # Steps 1 and 2: a literal, or a port, leave nothing to look up.
        if is_ip_literal(host) or port is not None:
            return _direct(server_name, host, port)
        # Step 3.
        delegated = await self.well_known.of(host)
        if delegated is None:
            # Steps 4 to 6.
            return await self._by_services(host)
        delegated_host, delegated_port = split(delegated)
        # Steps 3.1 and 3.2.
        if is_ip_literal(delegated_host) or delegated_port is not None:
            return _direct(delegated, delegated_host, delegated_port)
        # Steps 3.3 to 3.5.
        return await self._by_services(delegated_host)

    async def _by_services(self, host: str) -> Route:
        """By SRV records under `host`, or else port 8448 of it; the certificate must be that of `host`."""
        for name in SERVICES:
            try:
                services = await self.resolver.services(f"{name}.{host}")
            except ResolutionError:
                # Some name servers do not answer about records of this kind; the host itself may do.
                continue
            if services:
                targets = in_order(services, self.chance)
                return Route(tuple(targets[:MOST_TARGETS]), host, host)
        return Route((Target(host, DEFAULT_PORT),), host, host)


def split(server_name: ServerName) -> tuple[str, int | None]:
    """Host, without brackets, and port of a server name."""
    if server_name.startswith("["):
        host, _, rest = server_name[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = server_name.partition(":")
    return host, int(port) if port else None


def in_order(services: Sequence[Service], chance: Callable[[], float]) -> list[Target]:
    """The hosts of SRV records in the order in which to try them; none if the service is not offered.

    A lower priority goes first; among the same, chance decides, a greater weight having greater chances.
    Spec: RFC 2782.
    """
    # "A Target of "." means that the service is decidedly not available at this domain."
    left = sorted(
        (each for each in services if each.host.rstrip(".") and each.port),
        key=lambda each: (each.priority, each.weight),
    )
    ordered: list[Target] = []
    while left:
        same = [each for each in left if each.priority == left[0].priority]
        at = chance() * sum(each.weight for each in same)
        chosen = same[-1]
        for each in same:
            at -= each.weight
            if at <= 0:
                chosen = each
                break
        left.remove(chosen)
        ordered.append(Target(chosen.host.rstrip("."), chosen.port))
    return ordered


@functools.lru_cache(10_000)
def _direct(name: ServerName, host: str, port: int | None) -> Route:
    return Route((Target(host, DEFAULT_PORT if port is None else port),), name, host)
