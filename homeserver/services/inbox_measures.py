"""What is counted about events that other servers send."""

from typing import Protocol


class InboxMetrics(Protocol):
    """Where it is counted."""

    def received(self, *, stored: int, staged: int, refused: int) -> None:
        """Events of a transaction: part of their rooms, or not in need of that; put aside; or not taken."""
        ...

    def waiting(self, pdus: int) -> None:
        """So many events are put aside at the moment, in the whole database."""
        ...


class NoInboxMetrics:
    """Counts nothing."""

    def received(self, *, stored: int, staged: int, refused: int) -> None:
        """Nothing."""

    def waiting(self, pdus: int) -> None:
        """Nothing."""
