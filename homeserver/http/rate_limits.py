"""Refusing who asks too often."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

import attrs

from homeserver.core.errors import LimitExceeded
from homeserver.core.rate_limit import RateLimit
from homeserver.core.requester import Requester
from homeserver.http.addresses import rate_limited_address
from homeserver.http.endpoints import Limit
from homeserver.runtime.clock import Clock

MAX_CELLS = 100_000


class RateLimiter(Protocol):
    """Counts requests."""

    async def check(self, limit: Limit, caller: Requester | str) -> None:
        """Count one request against `limit` for a user, or for an address or server name.

        Errors: LimitExceeded.
        """
        ...


@attrs.frozen(eq=False)
class InMemoryRateLimiter:
    """Counts in this process, for at most `max_cells` callers; the longest inactive are forgotten first.

    A limit that `rates` lacks is none.
    """

    rates: Mapping[Limit, RateLimit]
    clock: Clock
    max_cells: int = MAX_CELLS
    _cells: "OrderedDict[tuple[Limit, str], int]" = attrs.field(factory=OrderedDict, init=False)

    async def check(self, limit: Limit, caller: Requester | str) -> None:
        """As `RateLimiter.check`."""
        rate = self.rates.get(limit)
        if rate is None:
            return
        key = (limit, rate_limited_address(caller) if isinstance(caller, str) else caller.user_id)
        now_ms = self.clock.monotonic_ms()
        cell, wait_ms = rate.take(self._cells.get(key), now_ms)
        self._cells[key] = cell
        self._cells.move_to_end(key)
        self._forget_some(now_ms)
        if wait_ms:
            raise LimitExceeded(retry_after_ms=wait_ms)

    def _forget_some(self, now_ms: int) -> None:
        """Drop up to two cells that have become meaningless, so that they vanish faster than they come."""
        for _ in range(2):
            (oldest_limit, name), cell = next(iter(self._cells.items()))
            if len(self._cells) <= self.max_cells and not self.rates[oldest_limit].is_idle(cell, now_ms):
                return
            del self._cells[oldest_limit, name]
            if not self._cells:
                return
