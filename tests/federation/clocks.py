"""A clock that runs, and that a test can put forward."""

from homeserver.runtime.clock import SystemClock


class MovableClock(SystemClock):
    """The machine's clock, ahead by what the test has let pass. Several servers may share one."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def now_ts(self) -> int:
        """Milliseconds since 1970."""
        return super().now_ts() + self._ahead_ms

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary moment."""
        return super().monotonic_ms() + self._ahead_ms

    def advance(self, *, hours: float) -> None:
        """Let time pass."""
        self._ahead_ms += int(hours * 3_600_000)
