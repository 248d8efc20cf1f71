"""Clients that wait for something new: who is woken by which topic."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred


class Waiter:
    """One waiting request; `woken` fires once, at the first topic that concerns it or when the server closes."""

    __slots__ = ("topics", "woken")

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self.woken: Deferred[None] = Deferred()


class Waiters:
    """All waiting requests of this process, by topic."""

    def __init__(self) -> None:
        self._by_topic: dict[str, set[Waiter]] = {}
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether the server is shutting down: nobody should wait any more."""
        return self._closing

    def add(self, topics: frozenset[str]) -> Waiter:
        """Wait for any of these topics; `remove` the waiter in the end, woken or not."""
        waiter = Waiter(topics)
        for topic in topics:
            self._by_topic.setdefault(topic, set()).add(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """The request no longer waits."""
        for topic in waiter.topics:
            waiting = self._by_topic.get(topic)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._by_topic[topic]

    def wake(self, topics: Iterable[str]) -> None:
        """Wake everybody whom one of these topics concerns."""
        found: set[Waiter] = set()
        for topic in topics:
            found.update(self._by_topic.get(topic, ()))
        _fire(found)

    def close(self) -> None:
        """Wake everybody for good: the server is shutting down, and open polls are answered."""
        self._closing = True
        _fire({waiter for waiting in self._by_topic.values() for waiter in waiting})

    def __len__(self) -> int:
        return len({waiter for waiting in self._by_topic.values() for waiter in waiting})


def _fire(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.woken.called:
            waiter.woken.callback(None)
