"""Rate limits by the generic cell rate algorithm, as a pure function.

A limit allows `burst` requests at once, and one more whenever `1 / per_second` has gone by. All that is to be
kept for whom it is applied to is a cell: the moment, in microseconds, when the whole burst will be free
again.
"""

from typing import Final, Self

import msgspec

_MICROSECONDS: Final = 1_000_000


class RateLimit(msgspec.Struct, frozen=True):
    """How often something may happen: each time costs `interval_us`, and `burst_us` may be owed at most."""

    interval_us: int
    burst_us: int

    @classmethod
    def of(cls, *, per_second: float, burst: int) -> Self:
        """A limit of `per_second` in the long run, which may be far below 1, and `burst` at once, at least 1.

        Errors: ValueError if either is not positive.
        """
        if not per_second > 0 or burst < 1:
            raise ValueError("a rate limit needs a positive rate and a burst of at least 1")
        interval_us = max(1, round(_MICROSECONDS / per_second))
        return cls(interval_us, interval_us * burst)

    def take(self, cell: int | None, now_ms: int, *, cost: int = 1) -> tuple[int, int]:
        """Ask for `cost` requests now.

        Returned are the new cell, and 0 if they are granted, else how long to wait, in milliseconds. `cell`
        is what the last call returned, None at first. A refusal takes nothing, and whoever waits that long is
        then granted, if nothing else was granted in between. A cost beyond the burst counts as the burst,
        else it could never be granted. A clock that was set back makes nobody wait longer than the whole
        burst takes.
        """
        now_us = now_ms * 1000
        cost_us = min(cost * self.interval_us, self.burst_us)
        owed_until = now_us if cell is None else min(max(cell, now_us), now_us + self.burst_us)
        after = owed_until + cost_us
        excess_us = after - now_us - self.burst_us
        if excess_us > 0:
            return owed_until, -(-excess_us // 1000)
        return after, 0

    def is_idle(self, cell: int, now_ms: int) -> bool:
        """Whether the cell is as good as none, and may be forgotten."""
        return cell <= now_ms * 1000
