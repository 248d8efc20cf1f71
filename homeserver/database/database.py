"""Reading and writing: transaction functions go in, Deferreds come out."""

import time
from collections.abc import Callable, Collection
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.database.checkpoints import LogLength, checkpoint
from homeserver.database.drivers import Location
from homeserver.database.errors import Obstacle
from homeserver.database.jobs import Job, Jobs, Loop
from homeserver.database.numbers import NumberPool
from homeserver.database.readers import ReaderThread
from homeserver.database.transactions import Caches, ReadTransaction, WriteTransaction
from homeserver.database.writers import WriterThread

P = ParamSpec("P")
T = TypeVar("T")

Rerun: TypeAlias = Callable[[], Deferred[Any]]
"""Runs a transaction function again."""

Clear: TypeAlias = Callable[[Obstacle, Rerun], Deferred[Any]]
"""Does what an obstacle demands, and runs the function again; what that gives is the result."""


class Database:
    """The database of one server process.

    `on_commit(position, topics)` is called in the reactor thread after each commit that published rows.
    `clear`, where it is set, takes care of the obstacles that functions meet.
    """

    clear: Clear | None = None

    STOP_S = 3.0
    """How long transactions that are running or waiting may take when the server stops."""

    def __init__(
        self,
        location: Location,
        loop: Loop,
        *,
        on_commit: Callable[[int, Collection[str]], None],
        readers: int = 2,
    ) -> None:
        self.location = location
        self.backend = location.backend
        self.caches = Caches()
        self._numbers = NumberPool()
        self._log_length = LogLength()
        self._reads = Jobs(loop, readers)
        self._writes = Jobs(loop, 1)
        self._threads: list[ReaderThread | WriterThread] = [
            WriterThread(location, self._writes, self.caches, self._numbers, on_commit, self._log_length)
        ]
        self._threads += [ReaderThread(location, self._reads, self.caches) for _ in range(readers)]

    def start(self) -> None:
        """Open the connections. Errors: `DatabaseError` if that fails."""
        try:
            for thread in self._threads:
                thread.open()
        except BaseException:  # whatever it is: what is open already would stay so
            for thread in self._threads:
                thread.close()
            raise
        for thread in self._threads:
            thread.start()

    def read(
        self, f: Callable[Concatenate[ReadTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """Run `f(tx, ...)` on one snapshot in a database thread.

        If the Deferred is cancelled before its turn, it is not run.
        Errors: what `f` raises; `StorageUnavailable`.
        """
        return self._reads.add(Job(f, args, kwargs, durable=True))

    def look_up(
        self, f: Callable[Concatenate[ReadTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """As `read`, for an `f` that runs one statement: that is a snapshot by itself, and costs half."""
        return self._reads.add(Job(f, args, kwargs, durable=True, is_single=True))

    def write(
        self, f: Callable[Concatenate[WriteTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """Run `f(tx, ...)` and commit; the result comes when it is on the disk. `f` may be run twice.

        It is done even if the Deferred is cancelled. If `f` meets an `Obstacle`, that is cleared away first.
        Errors: what `f` raises (nothing of it is kept then); `StorageUnavailable`.
        """

        def run() -> Deferred[T]:
            return self._writes.add(Job(f, args, kwargs, durable=True))

        def overcome(failure: Failure) -> Any:
            if self.clear is None or not isinstance(failure.value, Obstacle):
                return failure
            return self.clear(failure.value, run)

        done: Deferred[T] = run().addErrback(overcome)
        return done

    def write_soon(
        self, f: Callable[Concatenate[WriteTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """As `write`, for what a power cut may take back (typing, presence): does not wait for the disk."""
        return self._writes.add(Job(f, args, kwargs, durable=False))

    def checkpoint(self) -> None:
        """Fold SQLite's write-ahead log into its file; blocks, so call it in a thread. Nothing on PostgreSQL.

        Errors: `StorageUnavailable`.
        """
        if self.backend == "sqlite":
            checkpoint(self.location, self._log_length)

    def stop(self) -> None:
        """Finish what waits, then close the connections; blocks until done.

        What a database that does not answer holds up for longer than `STOP_S` is given up.
        """
        self._writes.close()
        self._reads.close()
        deadline = time.monotonic() + self.STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._writes.abandon()
        self._reads.abandon()
