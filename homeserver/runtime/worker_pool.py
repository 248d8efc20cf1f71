"""Threads for work that keeps a processor busy, such as hashing passwords."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from homeserver.core.errors import LimitExceeded

P = ParamSpec("P")
T = TypeVar("T")

RETRY_AFTER_MS = 2_000
"""What is told to who finds the queue full: about the time that it takes to work it off."""

NICENESS = 10


class Loop(Protocol):
    """The reactor, as far as the pool needs it."""

    def callFromThread(self, f: Callable[..., object], /) -> object:  # noqa: N802 - Twisted's name
        """Call `f` in the reactor's thread, soon."""
        ...


class _Job:
    """A call that waits for a thread; `work` stores its outcome."""

    __slots__ = ("deferred", "is_cancelled", "outcome", "work")

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.outcome: object = None
        self.is_cancelled = False
        self.deferred: Deferred[object] = Deferred(self._cancel)

    def run(self) -> None:
        """In a worker's thread."""
        try:
            self.outcome = self.work()
        except BaseException as error:  # noqa: BLE001 - it is handed to the caller, whatever it is
            self.outcome = Failure(error)

    def settle(self) -> None:
        """In the reactor's thread."""
        if not self.deferred.called:
            self.deferred.callback(self.outcome)

    def refuse(self) -> None:
        """It is not going to be run; in the reactor's thread."""
        if not self.deferred.called:
            self.deferred.errback(_busy())

    def _cancel(self, _: Deferred[object]) -> None:
        self.is_cancelled = True


class WorkerPool:
    """A few threads and a queue that does not grow beyond `queue_limit`.

    Who comes when the queue is full is refused at once: so the wait of those who are in it stays short,
    however many come. The threads give way to the reactor's (by a higher niceness, where threads have their
    own).
    """

    def __init__(self, loop: Loop, *, threads: int = 2, queue_limit: int = 64) -> None:
        self._loop = loop
        self._queue_limit = queue_limit
        self._waiting: deque[_Job] = deque()
        self._condition = threading.Condition()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, patience_s: float | None = None) -> None:
        """Refuse what waits, and wait for what runs; blocks the reactor's thread, where it is called.

        With `patience_s`, a thread is left to itself that takes longer.
        """
        with self._condition:
            self._closing = True
            refused, self._waiting = self._waiting, deque()
            self._condition.notify_all()
        for job in refused:
            job.refuse()
        for thread in self._threads:
            thread.join(patience_s)

    def run(self, f: Callable[Concatenate[P], T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `f(...)` in a thread; to be called in the reactor's thread.

        If the Deferred is cancelled before the work has begun, it is not done. Errors: what `f` raises;
        LimitExceeded if too much is waiting.
        """
        job = _Job(lambda: f(*args, **kwargs))
        with self._condition:
            self._drop_cancelled()
            if self._closing or len(self._waiting) >= self._queue_limit:
                return fail(_busy())
            self._waiting.append(job)
            self._condition.notify()
        return job.deferred  # type: ignore[return-value]  # its outcome is what `f` returns

    def _drop_cancelled(self) -> None:
        """Who went away leaves room for others; only looked at when it matters."""
        if len(self._waiting) >= self._queue_limit:
            self._waiting = deque(job for job in self._waiting if not job.is_cancelled)

    def _work(self) -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (job := self._take()) is not None:
            if not job.is_cancelled:
                job.run()
                self._loop.callFromThread(job.settle)

    def _take(self) -> _Job | None:
        with self._condition:
            while not self._waiting and not self._closing:
                self._condition.wait()
            return self._waiting.popleft() if self._waiting else None


def _busy() -> LimitExceeded:
    return LimitExceeded("The server is busy", retry_after_ms=RETRY_AFTER_MS)
