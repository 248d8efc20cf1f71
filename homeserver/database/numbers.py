"""Short numbers for rows, leased from the database in blocks so that taking one costs nothing."""

import threading


class NumbersRanOut(Exception):  # noqa: N818 - a signal between a transaction function and its runner
    """A transaction function took more numbers than were leased; the runner leases more and runs it again."""


class NumberPool:
    """The numbers this process has leased; safe to share between writer threads.

    A lease is committed by itself before its numbers are used: a transaction that is rolled back skips some.
    """

    BLOCK = 10_000
    LOW = 500
    MOST = 10_000_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._end = 0
        self._spare: list[tuple[int, int]] = []
        self._wanted = self.BLOCK

    @property
    def is_low(self) -> bool:
        """Whether a lease should be made before the next transaction."""
        return self._end - self._next < self.LOW and not self._spare

    @property
    def wanted(self) -> int:
        """How many numbers the next lease should bring."""
        return self._wanted

    def take(self) -> int:
        """One number. Errors: `NumbersRanOut`."""
        with self._lock:
            if self._next >= self._end:
                if not self._spare:
                    self._wanted = min(self._wanted * 2, self.MOST)
                    raise NumbersRanOut
                self._next, self._end = self._spare.pop()
            number = self._next
            self._next += 1
            return number

    def add(self, first: int, count: int) -> None:
        """A committed lease of the numbers `first` to `first + count - 1`."""
        with self._lock:
            ran_out = self._next >= self._end and not self._spare
            self._spare.append((first, first + count))
            if not ran_out:
                # What needed so many has been done: it need not be so many next time.
                self._wanted = max(self.BLOCK, self._wanted // 2)
