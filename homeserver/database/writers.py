"""Threads that run write transactions: group commit on SQLite, a transaction each on PostgreSQL."""

import threading
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import bindparam, update

from homeserver.database.checkpoints import LogLength
from homeserver.database.drivers import Connection, Location
from homeserver.database.errors import StorageUnavailable, TransactionEnded
from homeserver.database.jobs import Job, Jobs, Loop
from homeserver.database.kinds import Kind
from homeserver.database.leaps import MOST_AT_RISK, writing_connector
from homeserver.database.links import Link
from homeserver.database.numbers import NumberPool, NumbersRanOut
from homeserver.database.statements import Statement, statement
from homeserver.database.tables.stream import counters, stream
from homeserver.database.transactions import Caches, Published, WriteTransaction
from homeserver.runtime.caches import Cache

LEASE = statement(
    update(counters)
    .where(counters.c.name == "nid")
    .values(next=counters.c.next + bindparam("count"))
    .returning(counters.c.next)
)

Remembered = list[tuple[Cache[Any, Any], Any, Any]]


class _LostBeforeCommit(Exception):  # noqa: N818 - a signal between two methods
    """The connection broke while nothing of the transaction could have been kept."""


class WriterThread(threading.Thread):
    """Holds one connection and runs write functions on it.

    On SQLite it takes all waiting functions, gives each a savepoint before its first change, and commits them
    together. Positions are taken after each function there, since no other writer exists; on PostgreSQL a
    transaction holds one function, and the stream's row is locked from the end of the function to the commit.
    """

    ATTEMPTS = 8

    def __init__(
        self,
        location: Location,
        jobs: Jobs,
        caches: Caches,
        numbers: NumberPool,
        loop: Loop,
        on_commit: Callable[[int, Collection[str]], None],
        log_length: LogLength,
    ) -> None:
        super().__init__(name="database-writer", daemon=True)
        connect = writing_connector(location)
        self._driver = location.driver
        # After these the transaction is run again; it has had no effect.
        self._again: tuple[type[Exception], ...] = (NumbersRanOut, _LostBeforeCommit, *self._driver.conflicts)
        self._link = Link(self._driver, connect, connect)
        self._backend = location.backend
        self._most = 64 if self._backend == "sqlite" else 1
        self._jobs = jobs
        self._caches = caches
        self._numbers = numbers
        self._loop = loop
        self._on_commit = on_commit
        self._log_length = log_length
        self._at_risk = 0
        self._take_positions: dict[tuple[Kind, ...], Statement] = {}

    def open(self) -> None:
        """Connect. Errors: `DatabaseError`."""
        self._link.get()

    def close(self) -> None:
        """Disconnect; for a thread that has not been started."""
        self._link.close()

    def run(self) -> None:
        """Work until the queue is closed."""
        while jobs := self._jobs.take(self._most):
            self._run_together(jobs)
            self._jobs.finish(jobs)
            self._log_length.shorten(self._link)
        self._link.close()

    def _run_together(self, jobs: list[Job]) -> None:
        """Run the jobs in one transaction; if that cannot be committed as a whole, each by itself."""
        if len(jobs) > 1:
            try:
                self._transaction(jobs)
            except BaseException as error:  # noqa: BLE001 - each job shows it again, if it is its own
                if (
                    not isinstance(error, self._again)
                    and (reason := self._driver.unavailable(error)) is not None
                ):
                    # Whatever a job found out was found in changes that are gone: all are to be repeated.
                    for job in jobs:
                        job.error = StorageUnavailable(str(reason))
                    return
            else:
                return
        for job in jobs:
            self._run_alone(job)

    def _run_alone(self, job: Job) -> None:
        for _ in range(self.ATTEMPTS):
            try:
                self._transaction([job])
            except self._again as error:
                job.error = StorageUnavailable(f"the transaction could not be completed: {error}")
                continue
            except BaseException as error:  # noqa: BLE001 - it is handed to the caller, whatever it is
                job.error = self._driver.unavailable(error) or error
            return

    def _transaction(self, jobs: list[Job]) -> None:
        """Run the jobs and commit. Errors of one job among others stay with it."""
        topics: set[str] = set()
        remembered: Remembered = []
        first, last = 0, 0
        durable = self._at_risk > MOST_AT_RISK or any(job.durable for job in jobs)
        connection = self._link.get()
        try:
            if self._numbers.is_low:
                self._lease(connection)
            connection.begin_write(durable=durable)
            for job in jobs:
                if told := self._run_function(connection, job, remembered, alone=len(jobs) == 1):
                    position, count, of_job = told
                    first, last = first or position - count, position
                    topics |= of_job
        except BaseException as error:
            self._link.roll_back()
            if self._link.is_lost and self._driver.unavailable(error) is not None:
                raise _LostBeforeCommit(str(error)) from error
            raise
        self._commit(connection)
        self._at_risk = 0 if durable else self._at_risk + last - first
        for cache, key, value in remembered:
            cache.put(key, value)
        if topics:
            self._loop.callFromThread(lambda: self._on_commit(last, topics))

    def _commit(self, connection: Connection) -> None:
        """Commit. If the connection breaks now, nobody knows whether it was done: it is not tried again."""
        try:
            connection.commit()
        except BaseException:
            self._link.roll_back()
            raise

    def _run_function(
        self, connection: Connection, job: Job, remembered: Remembered, *, alone: bool
    ) -> tuple[int, int, set[str]] | None:
        """Run one function; gives the last position that it took, how many, and the topics that are told."""
        tx = self._open_transaction(connection)
        tx.savepoint_wanted = not alone
        job.error = None
        try:
            job.result = job.function(tx, *job.args, **job.kwargs)
        except self._again:
            raise
        except Exception as error:
            if alone or self._driver.unavailable(error) is not None:
                raise
            # Nothing was changed before the error, or the savepoint takes it back: the others go on.
            if tx.changed:
                connection.cursor.execute("ROLLBACK TO function")
                connection.cursor.execute("RELEASE function")
            job.error = error
            return None
        if not connection.in_transaction:
            raise TransactionEnded(f"{job.function} went on after a failed statement")
        remembered += tx.remembered
        told = None
        if tx.published:
            last = tx.flush(self._positions(tx, tx.published))
            told = last, len(tx.published), {topic for row in tx.published for topic in row.topics}
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
            query = self._take_positions[kinds] = take_positions(kinds)
        offsets = {f"n_{kind.value}": last_of[kind] for kind in kinds}
        row = tx.returning(query, n_all=count, **offsets)[0]
        return int(row[0]) - count

    def _lease(self, connection: Connection) -> None:
        """Lease numbers, in a transaction of its own."""
        count = self._numbers.wanted
        connection.begin_write(durable=True)
        tx = self._open_transaction(connection)
        end = int(tx.returning(LEASE, count=count)[0][0])
        connection.commit()
        self._numbers.add(end - count, count)

    def _open_transaction(self, connection: Connection) -> WriteTransaction:
        return WriteTransaction(connection.cursor, self._backend, self._caches, self._numbers)


def take_positions(kinds: Collection[Kind]) -> Statement:
    """Moves the stream on by `n_all`, and by `n_<kind>` to the last position of each of the kinds."""
    values = {kind.value: stream.c.position + bindparam(f"n_{kind.value}") for kind in kinds}
    return statement(
        update(stream)
        .values(position=stream.c.position + bindparam("n_all"), **values)
        .returning(stream.c.position)
    )
