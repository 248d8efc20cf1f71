"""What clients need to know of the DNS."""

from typing import Protocol

import msgspec


class ResolutionError(Exception):
    """The DNS gave no answer; that is something else than an answer that there is nothing."""


class Service(msgspec.Struct, frozen=True):
    """An SRV record."""

    host: str
    port: int
    priority: int
    weight: int


class Resolver(Protocol):
    """Knows the DNS."""

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host, those to be tried first coming first; empty if it has none.

        Errors: ResolutionError.
        """
        ...

    async def services(self, name: str) -> list[Service]:
        """The SRV records under a name such as `_matrix-fed._tcp.example.org`, in no order; empty without.

        Errors: ResolutionError.
        """
        ...
