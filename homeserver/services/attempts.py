"""How often somebody may get a secret wrong."""

import enum
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import attrs

from homeserver.core.errors import LimitExceeded
from homeserver.core.rate_limit import RateLimit
from homeserver.runtime.clock import Clock

MAX_CELLS: Final = 100_000


class Guessing(enum.Enum):
    """What guesses are counted for."""

    ACCOUNT = enum.auto()
    """Passwords of one account, by anybody, there or not."""

    CONFIRMATION = enum.auto()
    """Passwords of one account, by who has a session of it; apart, as neither may lock out the other."""

    ADDRESS = enum.auto()
    """Passwords of any accounts, from one address."""

    MAIL = enum.auto()
    """Mails to one address, whoever asks for them: nobody's mailbox is to be filled."""


DEFAULT_RATES: Final[Mapping[Guessing, RateLimit]] = MappingProxyType(
    {
        Guessing.ACCOUNT: RateLimit.of(per_second=0.1, burst=10),
        Guessing.CONFIRMATION: RateLimit.of(per_second=0.1, burst=10),
        Guessing.ADDRESS: RateLimit.of(per_second=0.5, burst=30),
        Guessing.MAIL: RateLimit.of(per_second=1 / 600, burst=5),
    }
)


def too_many(kind: Guessing) -> str:
    """What is told to whom nothing is left of a kind."""
    return "Too many mails to this address" if kind is Guessing.MAIL else "Too many failed attempts"


class Attempts(Protocol):
    """Counts guesses. What is right is given back, so that only failures add up."""

    async def take(self, kind: Guessing, name: str) -> None:
        """Count a guess before it is checked: many at the same time count as many. Errors: LimitExceeded."""
        ...

    async def give_back(self, kind: Guessing, name: str) -> None:
        """The guess was right."""
        ...


@attrs.frozen(eq=False)
class InMemoryAttempts:
    """Counts in this process; the longest inactive are forgotten first. Kinds without a rate are free."""

    clock: Clock
    rates: Mapping[Guessing, RateLimit] = DEFAULT_RATES
    max_cells: int = MAX_CELLS
    _cells: "OrderedDict[tuple[Guessing, str], int]" = attrs.field(factory=OrderedDict, init=False)

    async def take(self, kind: Guessing, name: str) -> None:
        """As `Attempts.take`."""
        rate = self.rates.get(kind)
        if rate is None:
            return
        key = (kind, name)
        cell, wait_ms = rate.take(self._cells.get(key), self.clock.monotonic_ms())
        self._cells[key] = cell
        self._cells.move_to_end(key)
        if len(self._cells) > self.max_cells:
            self._cells.popitem(last=False)
        if wait_ms:
            raise LimitExceeded(too_many(kind), retry_after_ms=wait_ms)

    async def give_back(self, kind: Guessing, name: str) -> None:
        """As `Attempts.give_back`."""
        cell = self._cells.get((kind, name))
        if cell is not None:
            self._cells[kind, name] = cell - self.rates[kind].interval_us
