"""How often somebody may get a secret wrong, where the server is several processes."""

from collections.abc import Mapping

import msgspec

from homeserver.core.errors import LimitExceeded
from homeserver.core.rate_limit import RateLimit
from homeserver.runtime.cells import Cells, CellsUnavailable
from homeserver.services.attempts import DEFAULT_RATES, Attempts, Guessing, too_many


class SharedAttempts(msgspec.Struct, frozen=True, eq=False):
    """Counts in `cells`; in `alone` while these cannot be reached. Kinds without a rate are free."""

    cells: Cells
    alone: Attempts
    rates: Mapping[Guessing, RateLimit] = DEFAULT_RATES

    async def take(self, kind: Guessing, name: str) -> None:
        """As `Attempts.take`."""
        rate = self.rates.get(kind)
        if rate is None:
            return
        try:
            wait_ms = await self.cells.take(_key(kind, name), rate)
        except CellsUnavailable:
            await self.alone.take(kind, name)
            return
        if wait_ms:
            raise LimitExceeded(too_many(kind), retry_after_ms=wait_ms)

    async def give_back(self, kind: Guessing, name: str) -> None:
        """As `Attempts.give_back`."""
        rate = self.rates.get(kind)
        if rate is None:
            return
        try:
            await self.cells.give_back(_key(kind, name), rate)
        except CellsUnavailable:
            await self.alone.give_back(kind, name)


def _key(kind: Guessing, name: str) -> str:
    return f"guess:{kind.name.lower()}:{name}"
