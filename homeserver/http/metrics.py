"""What is counted about requests."""

from typing import Protocol

import msgspec


class RequestMetrics(Protocol):
    """Is told about every answered request."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request: method, template of the path (empty if unknown), status of the response, time."""
        ...


class NoMetrics(msgspec.Struct, frozen=True, eq=False):
    """Counts nothing."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Do nothing."""
