"""Work that several ask for at the same time is done once."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedWork(Generic[K, V]):
    """Runs one piece of work per key at a time, and gives its result to all who have asked meanwhile.

    Who asks may cancel what they got: the work goes on, for the others or for a cache, so it must end by
    itself.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[V]]] = {}

    def get(self, key: K, work: Callable[[], Coroutine[Deferred[Any], Any, V]]) -> Deferred[V]:
        """The result of `work`, which is called unless it runs already under that key.

        Errors: what the work raises.
        """
        mine: Deferred[V] = Deferred()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(mine)
            return mine
        self._waiting[key] = [mine]
        Deferred.fromCoroutine(work()).addBoth(self._settle, key)
        return mine

    def __len__(self) -> int:
        return len(self._waiting)

    def _settle(self, result: V | Failure, key: K) -> None:
        for waiting in self._waiting.pop(key):
            # One that has been cancelled has been called.
            if not waiting.called:
                waiting.callback(result)
