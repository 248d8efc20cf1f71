"""The queue between the reactor and the database threads."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.database.errors import StorageUnavailable

_log = structlog.get_logger(__name__)


class Loop(Protocol):
    """The reactor, as far as the database needs it."""

    def callFromThread(self, f: Callable[..., object], /) -> object:  # noqa: N802 - Twisted's name
        """Call `f` in the reactor's thread, soon."""
        ...


class Outcome(Protocol):
    """What a transaction has led to."""

    def settle(self) -> None:
        """Tell those who wait for it; in the reactor's thread."""
        ...


class Job:
    """A transaction function with its arguments, and the Deferred that its caller awaits."""

    __slots__ = ("args", "deferred", "durable", "error", "function", "is_single", "kwargs", "result")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        durable: bool,
        is_single: bool = False,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.durable = durable
        self.is_single = is_single
        self.deferred: Deferred[Any] = Deferred(_ignore_cancellation)
        self.result: Any = None
        self.error: BaseException | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the outcome any more; may be asked in any thread."""
        return self.deferred.called

    def settle(self) -> None:
        """Give the outcome to the caller; in the reactor's thread."""
        if self.deferred.called:  # the caller went away
            return
        if self.error is None:
            self.deferred.callback(self.result)
        else:
            self.deferred.errback(Failure(self.error))


def _ignore_cancellation(_: Deferred[Any]) -> None:
    """A write that has been queued is done; the Deferred itself becomes cancelled."""


class Jobs:
    """Jobs wait here for a thread, and their outcomes for the reactor.

    Outcomes of many jobs travel in one wake-up of the reactor, which is what a thread hop mostly costs.
    """

    MOST_WAITING = 20_000
    """With more than that waiting the database is far behind: who comes now is told so at once."""

    def __init__(self, loop: Loop, threads: int) -> None:
        self._loop = loop
        self._threads = threads
        self._waiting: deque[Job] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._done: deque[Outcome] = deque()
        self._woken = False

    def add(self, job: Job) -> Deferred[Any]:
        """Queue a job; in the reactor's thread."""
        with self._condition:
            if self._closing or len(self._waiting) >= self.MOST_WAITING:
                reason = "the server is shutting down" if self._closing else "too many transactions wait"
                job.error = StorageUnavailable(reason)
            else:
                self._waiting.append(job)
                self._condition.notify()
        if job.error is not None:
            job.settle()
        return job.deferred

    def take(self, most: int) -> list[Job]:
        """Wait for jobs and take up to `most`, but leave the other threads their share.

        An empty list means that the queue has been closed.
        """
        with self._condition:
            while not self._waiting and not self._closing:
                self._condition.wait()
            share = -(-len(self._waiting) // self._threads)
            return [self._waiting.popleft() for _ in range(min(most, share))]

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Send the outcomes to the reactor, which settles them in this order; in a database thread."""
        self._done.extend(outcomes)
        if not self._woken:
            self._woken = True
            self._loop.callFromThread(self._settle)

    def close(self) -> None:
        """Take no more jobs; threads end when the waiting ones are done."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()

    def abandon(self) -> None:
        """Refuse the jobs that still wait: there is no time for them. In the reactor's thread."""
        with self._condition:
            jobs, self._waiting = list(self._waiting), deque()
        for job in jobs:
            job.error = StorageUnavailable("the server is shutting down")
            job.settle()

    def _settle(self) -> None:
        self._woken = False
        while self._done:
            outcome = self._done.popleft()
            try:
                outcome.settle()
            except Exception:  # noqa: BLE001 - one that cannot be told must not keep the others from being told
                _log.exception("the outcome of a transaction could not be told")
