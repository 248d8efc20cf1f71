"""Clients that wait for something new: who is woken by which topic."""

from collections import OrderedDict
from collections.abc import Iterable

from twisted.internet.defer import Deferred


class Waiter:
    """One waiting request; `woken` fires once, at the first topic that concerns it or when the server closes."""

    __slots__ = ("key", "woken")

    def __init__(self, key: str) -> None:
        self.key = key
        self.woken: Deferred[None] = Deferred()


class Waiters:
    """All waiting requests of this process.

    Who waits is a *listener*: a user, under a key of the caller's. What a listener listens to is kept when the request
    ends, since the next one mostly comes at once and listens to the same: then waiting costs no more for a user in a
    thousand rooms than for one in a single room.
    """

    MOST_LISTENERS = 20_000

    def __init__(self) -> None:
        self._topics: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._listeners: dict[str, set[str]] = {}
        self._waiting: dict[str, set[Waiter]] = {}
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether the server is shutting down: nobody should wait any more."""
        return self._closing

    def add(self, key: str, topics: frozenset[str]) -> Waiter:
        """Wait for any of these topics; `remove` the waiter in the end, woken or not."""
        known = self._topics.get(key)
        if known is not topics:
            self._listen(key, known or frozenset(), topics)
        else:
            self._topics.move_to_end(key)
        waiter = Waiter(key)
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = {waiter}
        else:
            waiting.add(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """The request no longer waits."""
        waiting = self._waiting.get(waiter.key)
        if waiting is not None:
            waiting.discard(waiter)
            if not waiting:
                del self._waiting[waiter.key]

    def are_told_by(self, topics: Iterable[str]) -> bool:
        """Whether one of these topics concerns anybody who waits."""
        waiting = self._waiting
        return bool(waiting) and any(
            key in waiting for topic in topics for key in self._listeners.get(topic, ())
        )

    def wake(self, topics: Iterable[str]) -> None:
        """Wake everybody whom one of these topics concerns."""
        keys: set[str] = set()
        for topic in topics:
            keys.update(self._listeners.get(topic, ()))
        _fire([waiter for key in keys for waiter in self._waiting.get(key, ())])

    def wake_all(self) -> None:
        """Wake everybody: it is not known whom it concerns."""
        _fire([waiter for waiting in self._waiting.values() for waiter in waiting])

    def close(self) -> None:
        """Wake everybody for good: the server is shutting down, and open polls are answered."""
        self._closing = True
        self.wake_all()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _listen(self, key: str, before: frozenset[str], topics: frozenset[str]) -> None:
        for topic in before - topics:
            self._forget(topic, key)
        for topic in topics - before:
            self._listeners.setdefault(topic, set()).add(key)
        self._topics[key] = topics
        self._topics.move_to_end(key)
        if len(self._topics) > self.MOST_LISTENERS:
            self._drop_idle()

    def _drop_idle(self) -> None:
        """Forget what those listen to that have not waited for the longest time."""
        idle = [key for key in self._topics if key not in self._waiting]
        for key in idle[: self.MOST_LISTENERS // 10]:
            for topic in self._topics.pop(key):
                self._forget(topic, key)

    def _forget(self, topic: str, key: str) -> None:
        listeners = self._listeners.get(topic)
        if listeners is not None:
            listeners.discard(key)
            if not listeners:
                del self._listeners[topic]


def _fire(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.woken.called:
            waiter.woken.callback(None)
