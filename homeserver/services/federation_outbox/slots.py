"""Turns: each destination has one transaction at a time, and small queues do not wait for long ones."""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from homeserver.services.federation_outbox.queues import Queue

_log = structlog.get_logger(__name__)

SLOW_S: Final = 5.0
"""Who takes longer for a transaction does not count any more: a slow destination keeps nobody else waiting."""

MOST_SLOW: Final = 500
"""So many destinations may be slow at the same time."""


class _Turn(msgspec.Struct, eq=False):
    queue: Queue
    began_s: float
    is_counted: bool = True
    done: Deferred[Any] | None = None


class Slots:
    """Gives queues their turns: `most` at a time, first come, first served.

    `again` is called with a queue whose turn has ended and that wants another one: behind all that wait now.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        work: Callable[[Queue], Coroutine[Deferred[Any], Any, bool]],
        again: Callable[[Queue], None],
        *,
        most: int,
    ) -> None:
        self._reactor = reactor
        self._work = work
        self._again = again
        self._most = most
        self._waiting: deque[Queue] = deque()
        # In the order in which they have begun.
        self._turns: dict[_Turn, None] = {}
        self._counted = 0
        self._watch: IDelayedCall | None = None
        self._stopped = False
        self._pumping = False

    @property
    def running(self) -> int:
        """How many turns are being taken."""
        return len(self._turns)

    def add(self, queue: Queue) -> None:
        """Have the queue take a turn, unless that is so already."""
        if queue.is_scheduled or self._stopped:
            return
        queue.is_scheduled = True
        self._waiting.append(queue)
        self._pump()

    async def stop(self, patience_s: float) -> None:
        """Begin no turn any more; wait for those that are being taken, and break off what takes longer."""
        self._stopped = True
        self._waiting.clear()
        running = [turn.done for turn in self._turns if turn.done is not None]
        if running:
            waiting: Deferred[Any] = DeferredList(running)
            await waiting.addTimeout(patience_s, self._reactor).addErrback(_note_broken_off)
        for turn in list(self._turns):
            if turn.done is not None:
                turn.done.cancel()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _pump(self) -> None:
        if self._pumping:
            return  # a turn has ended as soon as it began
        self._pumping = True
        try:
            while self._waiting and self._counted < self._most and len(self._turns) < MOST_SLOW:
                self._begin(_Turn(self._waiting.popleft(), self._reactor.seconds()))
        finally:
            self._pumping = False

    def _begin(self, turn: _Turn) -> None:
        self._turns[turn] = None
        self._counted += 1
        if self._watch is None:
            self._watch = self._reactor.callLater(SLOW_S, self._look_for_slow_ones)
        turn.done = Deferred.fromCoroutine(self._work(turn.queue))
        turn.done.addBoth(self._finished, turn)

    def _look_for_slow_ones(self) -> None:
        """Uncount who takes too long; one timer for all, since hardly any turn does."""
        self._watch = None
        before_s = self._reactor.seconds() - SLOW_S
        counted = [turn for turn in self._turns if turn.is_counted]
        slow = [turn for turn in counted if turn.began_s <= before_s]
        if len(slow) < len(counted):
            left_s = counted[len(slow)].began_s - before_s
            self._watch = self._reactor.callLater(left_s, self._look_for_slow_ones)
        for turn in slow:
            self._uncount(turn)

    def _finished(self, again: bool | Failure, turn: _Turn) -> None:
        self._turns.pop(turn, None)
        turn.queue.is_scheduled = False
        self._uncount(turn)
        if isinstance(again, Failure):
            again.trap(CancelledError)
        elif again:
            self._again(turn.queue)

    def _uncount(self, turn: _Turn) -> None:
        if turn.is_counted:
            turn.is_counted = False
            self._counted -= 1
        self._pump()


def _note_broken_off(failure: Failure) -> None:
    failure.trap(OutOfPatience)
    _log.info("some transactions were broken off")
