"""Reading and writing: transaction functions go in, Deferreds come out."""

from collections.abc import Callable, Collection
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred

from homeserver.database.drivers import Location, SqliteConnection
from homeserver.database.errors import DatabaseError
from homeserver.database.jobs import Job, Jobs
from homeserver.database.numbers import NumberPool
from homeserver.database.readers import ReaderThread
from homeserver.database.transactions import Caches, ReadTransaction, WriteTransaction
from homeserver.database.writers import WriterThread

P = ParamSpec("P")
T = TypeVar("T")


class Loop(Protocol):
    """The reactor, as far as the database needs it."""

    def callFromThread(self, f: Callable[..., object], /) -> object:  # noqa: N802 - Twisted's name
        """Call `f` in the reactor's thread, soon."""
        ...


class Database:
    """The database of one server process.

    `on_commit(position, topics)` is called in the reactor thread after each commit that published rows.
    """

    def __init__(
        self,
        location: Location,
        loop: Loop,
        *,
        on_commit: Callable[[int, Collection[str]], None],
        readers: int = 2,
        writers: int = 4,
    ) -> None:
        self.location = location
        self.backend = location.backend
        self.caches = Caches()
        self._numbers = NumberPool()
        self._reads: Jobs = Jobs(loop)
        self._writes: Jobs = Jobs(loop)
        # SQLite has one writer by nature; there, waiting functions share a commit instead.
        count = 1 if self.backend == "sqlite" else writers
        self._threads: list[ReaderThread | WriterThread] = [
            WriterThread(
                location, self._writes, self.caches, self._numbers, loop, on_commit, leap=index == 0
            )
            for index in range(count)
        ]
        self._threads += [ReaderThread(location, self._reads, self.caches) for _ in range(readers)]

    def start(self) -> None:
        """Open the connections. Errors: `DatabaseError` if that fails."""
        for thread in self._threads:
            thread.open()
        for thread in self._threads:
            thread.start()

    def read(
        self, f: Callable[Concatenate[ReadTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """Run `f(tx, ...)` on one snapshot in a database thread.

        Errors: what `f` raises; `StorageUnavailable`.
        """
        return self._reads.add(Job(f, args, kwargs, durable=True))

    def write(
        self, f: Callable[Concatenate[WriteTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """Run `f(tx, ...)` and commit; the result comes when it is on the disk. `f` may be run twice.

        Errors: what `f` raises (nothing of it is kept then); `StorageUnavailable`.
        """
        return self._writes.add(Job(f, args, kwargs, durable=True))

    def write_soon(
        self, f: Callable[Concatenate[WriteTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Deferred[T]:
        """As `write`, for what a power cut may take back (typing, presence): does not wait for the disk."""
        return self._writes.add(Job(f, args, kwargs, durable=False))

    def checkpoint(self) -> None:
        """Fold SQLite's write-ahead log into its file; blocks, so call it in a thread. Nothing on PostgreSQL."""
        if self.backend != "sqlite":
            return
        connection = self.location.connector(read_only=False)()
        if not isinstance(connection, SqliteConnection):
            raise DatabaseError("database: a checkpoint needs SQLite")
        try:
            connection.checkpoint()
        finally:
            connection.close()

    def stop(self) -> None:
        """Finish what waits, then close the connections; blocks until done."""
        self._writes.close(sum(isinstance(thread, WriterThread) for thread in self._threads))
        self._reads.close(sum(isinstance(thread, ReaderThread) for thread in self._threads))
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
