"""What was begun in some order comes to its end in that order."""

from collections import deque
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Place:
    """A place in a queue: who waits there, and the outcome when it is there."""

    __slots__ = ("is_done", "outcome", "waiting")

    def __init__(self, waiting: "Deferred[Any]") -> None:
        self.waiting = waiting
        self.is_done = False
        self.outcome: object = None


class InOrder(Generic[K]):
    """Hands outcomes on, those of one key in the order in which they were asked for.

    Whoever gets one goes on, as far as that is possible at once, before the next one gets theirs.
    """

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[K, deque[_Place]] = {}

    def hand_on(self, key: K, work: Deferred[T]) -> Deferred[T]:
        """The outcome of `work`, after those that were asked for earlier under the same key.

        Who cancels it cancels the work. Errors: as the work.
        """
        mine: Deferred[T] = Deferred(lambda _: work.cancel())
        place = _Place(mine)
        self._queues.setdefault(key, deque()).append(place)
        work.addBoth(self._arrived, key, place)
        return mine

    def __len__(self) -> int:
        return len(self._queues)

    def _arrived(self, outcome: T | Failure, key: K, place: _Place) -> None:
        place.outcome, place.is_done = outcome, True
        queue = self._queues.get(key)
        while queue and queue[0].is_done:
            first = queue.popleft()
            # One that has been cancelled has been called.
            if not first.waiting.called:
                first.waiting.callback(first.outcome)
        if not queue:
            self._queues.pop(key, None)
