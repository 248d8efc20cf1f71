"""Exponential back-off: how long to wait before trying again."""

import math

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """Waits of `first_ms`, then each `factor` times the one before, up to `cap_ms`.

    `spread` says how much of a wait is left to chance: between none (0) and all of it (1), so that those who
    failed together do not come back together.
    """

    first_ms: int
    cap_ms: int
    factor: float = 2.0
    spread: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.first_ms <= self.cap_ms and self.factor >= 1 and 0 <= self.spread <= 1):
            raise ValueError("a back-off needs 0 < first_ms <= cap_ms, factor >= 1, 0 <= spread <= 1")

    def delay_ms(self, failures: int, *, jitter: float) -> int:
        """How long to wait after that many failures in a row; 0 after none.

        `jitter` is chance: a number from 0 up to 1. The wait is never longer than `cap_ms`, nor shorter than
        1 ms.
        """
        if failures <= 0:
            return 0
        steps = failures - 1
        # Compared as logarithms, since the power would overflow one day.
        if steps * math.log(self.factor) >= math.log(self.cap_ms / self.first_ms):
            whole = float(self.cap_ms)
        else:
            whole = self.first_ms * self.factor**steps
        return max(1, round(whole * (1 - self.spread * jitter)))
