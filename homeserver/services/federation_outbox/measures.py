"""What is counted about sending."""

from typing import Protocol


class OutboxMetrics(Protocol):
    """Where it is counted."""

    def sent(self, pdus: int, edus: int) -> None:
        """A transaction has been taken over by its destination."""
        ...

    def failed(self, *, transient: bool) -> None:
        """A transaction has not: its destination could not take it now, or would not."""
        ...


class NoOutboxMetrics:
    """Counts nothing."""

    def sent(self, pdus: int, edus: int) -> None:
        """Nothing."""

    def failed(self, *, transient: bool) -> None:
        """Nothing."""
