"""Things that happen once, and that many wait for."""

from twisted.internet.defer import Deferred, succeed


class Signal:
    """A client has gone, a server is closing: `fire` is called once, at most; every waiter hears of it."""

    __slots__ = ("_waiting", "has_fired")

    def __init__(self) -> None:
        self.has_fired = False
        # Used as an ordered set: waiters come and go by the thousand, and each must leave in constant time.
        self._waiting: dict[Deferred[None], None] = {}

    def wait(self) -> Deferred[None]:
        """A Deferred of the caller's own that fires with the signal; who stops waiting cancels it."""
        if self.has_fired:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting[waiter] = None
        return waiter

    def fire(self) -> None:
        """Wake all who wait, in the order in which they came; a second call does nothing."""
        self.has_fired = True
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.callback(None)

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting.pop(waiter, None)
