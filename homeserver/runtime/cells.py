"""Cells of rate limits that all processes of a server share; see `redis_cells`."""

from typing import Protocol

from homeserver.core.rate_limit import RateLimit


class CellsUnavailable(Exception):  # noqa: N818 - it is a state of affairs
    """They cannot be reached: each process is to count by itself meanwhile."""


class Cells(Protocol):
    """Where the processes count together. Errors of `take` and `give_back`: CellsUnavailable."""

    async def take(self, key: str, rate: RateLimit) -> int:
        """Count one: 0 if it is granted, else how long to wait, in milliseconds."""
        ...

    async def give_back(self, key: str, rate: RateLimit) -> None:
        """What was taken last is not to count."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...
