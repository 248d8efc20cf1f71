"""Threads that run write transactions: group commit on SQLite, a transaction each on PostgreSQL."""

import threading
from collections.abc import Callable, Collection
from typing import Any, Protocol

from sqlalchemy import bindparam, update

from homeserver.database.drivers import RETRYABLE, Connection, Location, unavailable
from homeserver.database.errors import DatabaseError, StorageUnavailable
from homeserver.database.jobs import Job, Jobs
from homeserver.database.kinds import Kind
from homeserver.database.numbers import NumberPool, NumbersRanOut
from homeserver.database.statements import Statement, statement
from homeserver.database.tables.stream import counters, stream
from homeserver.runtime.caches import Cache
from homeserver.database.transactions import Caches, Published, WriteTransaction

LEAP = 10_000

LEAP_AHEAD = statement(update(stream).values(position=stream.c.position + LEAP))
LEASE = statement(
    update(counters)
    .where(counters.c.name == "nid")
    .values(next=counters.c.next + bindparam("count"))
    .returning(counters.c.next)
)


class _Loop(Protocol):
    def callFromThread(self, f: Callable[..., object], /) -> object: ...  # noqa: N802


class WriterThread(threading.Thread):
    """Holds one connection and runs write functions on it.

    On SQLite it takes all waiting functions, gives each a savepoint before its first change, and commits them
    together. Positions are taken after each function there, since no other writer exists; on PostgreSQL a
    transaction holds one function, and the stream's row is locked from the end of the function to the commit.
    """

    def __init__(
        self,
        location: Location,
        jobs: Jobs,
        caches: Caches,
        numbers: NumberPool,
        loop: _Loop,
        on_commit: Callable[[int, Collection[str]], None],
        *,
        leap: bool,
    ) -> None:
        super().__init__(name="database-writer", daemon=True)
        self._connect = location.connector(read_only=False)
        self._backend = location.backend
        self._most = 64 if self._backend == "sqlite" else 1
        self._jobs = jobs
        self._caches = caches
        self._numbers = numbers
        self._loop = loop
        self._on_commit = on_commit
        self._leap = leap
        self._connection: Connection | None = None
        self._take_positions: dict[tuple[Kind, ...], Statement] = {}

    def open(self) -> None:
        """Connect, and leap the stream: what a power cut took back is never given out again."""
        connection = self._connection = self._connect()
        if self._leap:
            connection.begin_write(durable=True)
            self._open_transaction(connection).execute(LEAP_AHEAD)
            connection.commit()

    def run(self) -> None:
        """Work until the queue is closed."""
        while jobs := self._jobs.take(self._most):
            self._run_together(jobs)
            self._jobs.finish(jobs)
        if self._connection is not None:
            self._connection.close()

    def _run_together(self, jobs: list[Job]) -> None:
        """Run the jobs in one transaction; if that cannot be committed as a whole, each by itself."""
        try:
            self._transaction(jobs)
        except NumbersRanOut:
            self._alone(jobs)
        except RETRYABLE:
            self._alone(jobs)
        except DatabaseError as error:
            _fail(jobs, StorageUnavailable(str(error)))
        except BaseException as error:  # noqa: BLE001 - it is handed to the callers, whatever it is
            if len(jobs) == 1:
                _fail(jobs, unavailable(error) or error)
            elif (lost := unavailable(error)) is not None:
                _fail(jobs, lost)
            else:
                self._alone(jobs)

    def _alone(self, jobs: list[Job]) -> None:
        for job in jobs:
            for _attempt in range(8):
                try:
                    self._transaction([job])
                except (NumbersRanOut, *RETRYABLE) as error:
                    job.error = StorageUnavailable(f"the transaction could not be completed: {error}")
                    continue
                except DatabaseError as error:
                    job.error = StorageUnavailable(str(error))
                except BaseException as error:  # noqa: BLE001 - it is handed to the caller, whatever it is
                    job.error = unavailable(error) or error
                break

    def _transaction(self, jobs: list[Job]) -> None:
        connection = self._usable()
        if self._numbers.is_low:
            self._lease(connection)
        topics: set[str] = set()
        remembered: list[tuple[Cache[Any, Any], Any, Any]] = []
        position = 0
        connection.begin_write(durable=any(job.durable for job in jobs))
        try:
            for job in jobs:
                if published := self._run_function(connection, job, remembered, alone=len(jobs) == 1):
                    position = published[0]
                    topics.update(published[1])
            connection.commit()
        except BaseException:
            if connection.is_usable():
                connection.rollback()
            raise
        for cache, key, value in remembered:
            cache.put(key, value)
        if topics:
            last = position
            self._loop.callFromThread(lambda: self._on_commit(last, topics))

    def _run_function(
        self,
        connection: Connection,
        job: Job,
        remembered: list[tuple[Cache[Any, Any], Any, Any]],
        *,
        alone: bool,
    ) -> tuple[int, set[str]] | None:
        tx = self._open_transaction(connection)
        tx.savepoint_wanted = not alone
        job.error = None
        try:
            job.result = job.function(tx, *job.args, **job.kwargs)
        except (NumbersRanOut, *RETRYABLE):
            raise
        except Exception as error:
            if alone or unavailable(error) is not None:
                raise
            # Nothing was changed before the error, or the savepoint takes it back: the others go on.
            if tx.changed:
                connection.cursor.execute("ROLLBACK TO function")
                connection.cursor.execute("RELEASE function")
            job.error = error
            return None
        remembered += tx.remembered
        told = None
        if tx.published:
            last = tx.flush(self._positions(tx, tx.published))
            told = last, {topic for row in tx.published for topic in row.topics}
        if tx.changed and not alone:
            connection.cursor.execute("RELEASE function")
        return told

    def _positions(self, tx: WriteTransaction, published: list[Published]) -> int:
        """Take the positions of these rows; gives the one before the first."""
        count = len(published)
        last_of = {row.kind: index for index, row in enumerate(published, 1)}
        kinds = tuple(kind for kind in Kind if kind in last_of)
        query = self._take_positions.get(kinds)
        if query is None:
            values = {kind.value: stream.c.position + bindparam(f"n_{kind.value}") for kind in kinds}
            query = self._take_positions[kinds] = statement(
                update(stream)
                .values(position=stream.c.position + bindparam("n_all"), **values)
                .returning(stream.c.position)
            )
        offsets = {f"n_{kind.value}": last_of[kind] for kind in kinds}
        row = tx.returning(query, n_all=count, **offsets)[0]
        return int(row[0]) - count

    def _lease(self, connection: Connection) -> None:
        count = self._numbers.wanted
        connection.begin_write(durable=True)
        tx = self._open_transaction(connection)
        end = int(tx.returning(LEASE, count=count)[0][0])
        connection.commit()
        self._numbers.add(end - count, count)

    def _open_transaction(self, connection: Connection) -> WriteTransaction:
        return WriteTransaction(connection.cursor, self._backend, self._caches, self._numbers)

    def _usable(self) -> Connection:
        if self._connection is None or not self._connection.is_usable():
            self._connection = self._connect()
        return self._connection


def _fail(jobs: list[Job], error: BaseException) -> None:
    for job in jobs:
        job.error = error
