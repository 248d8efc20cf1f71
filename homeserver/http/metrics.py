"""What is counted about requests."""

from typing import Protocol

import attrs


class RequestMetrics(Protocol):
    """Is told about every answered request."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request: method, template of the path (empty if unknown), status of the response, time."""
        ...


@attrs.frozen(eq=False)
class NoMetrics:
    """Counts nothing."""

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Do nothing."""
