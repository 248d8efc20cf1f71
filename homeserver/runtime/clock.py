"""The time, handed in so that tests can move it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where services ask for the time; never used inside a transaction function."""

    def now_ts(self) -> int:
        """Wall-clock time in milliseconds since 1970: for `origin_server_ts` and expiry dates."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds that never jump: for timeouts, back-off and ages."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ts(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary moment."""
        return time.monotonic_ns() // 1_000_000
