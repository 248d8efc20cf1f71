"""Rate limits of a server that is several processes."""

from collections.abc import Mapping

import msgspec

from homeserver.core.errors import LimitExceeded
from homeserver.core.rate_limit import RateLimit
from homeserver.core.requester import Requester
from homeserver.http.addresses import rate_limited_address
from homeserver.http.endpoints import Limit
from homeserver.http.rate_limits import RateLimiter
from homeserver.runtime.cells import Cells, CellsUnavailable


class SharedRateLimiter(msgspec.Struct, frozen=True, eq=False):
    """Counts in `cells`; in `alone` while these cannot be reached. A limit that `rates` lacks is none."""

    rates: Mapping[Limit, RateLimit]
    cells: Cells
    alone: RateLimiter

    async def check(self, limit: Limit, caller: Requester | str) -> None:
        """As `RateLimiter.check`."""
        rate = self.rates.get(limit)
        if rate is None:
            return
        name = rate_limited_address(caller) if isinstance(caller, str) else caller.user_id
        try:
            wait_ms = await self.cells.take(f"{limit.value}:{name}", rate)
        except CellsUnavailable:
            await self.alone.check(limit, caller)
            return
        if wait_ms:
            raise LimitExceeded(retry_after_ms=wait_ms)
