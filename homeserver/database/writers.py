"""The thread that runs write transactions: all functions that wait share a transaction, and its commit."""

import threading
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import bindparam, update

from homeserver.database.checkpoints import LogLength
from homeserver.database.drivers import Connection, Location
from homeserver.database.errors import StorageUnavailable, TransactionEnded
from homeserver.database.jobs import Job, Jobs
from homeserver.database.kinds import Kind
from homeserver.database.leaps import MOST_AT_RISK, writing_connector
from homeserver.database.links import Link
from homeserver.database.numbers import NumberPool, NumbersRanOut
from homeserver.database.statements import Statement, statement
from homeserver.database.tables.stream import counters, stream
from homeserver.database.transactions import Caches, WriteTransaction
from homeserver.runtime.caches import Cache

OnCommit: TypeAlias = Callable[[int, Collection[str]], None]

LEASE = statement(
    update(counters)
    .where(counters.c.name == "nid")
    .values(next=counters.c.next + bindparam("count"))
    .returning(counters.c.next)
)

Remembered = list[tuple[Cache[Any, Any], Any, Any]]


class _LostBeforeCommit(Exception):  # noqa: N818 - a signal between two methods
    """The connection broke while nothing of the transaction could have been kept."""


class _Spoilt(Exception):  # noqa: N818 - a signal between two methods
    """A function failed in a way that takes the whole transaction with it."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class _Batch(msgspec.Struct):
    """What the functions of one transaction have brought so far."""

    start: int
    """The stream's position before the transaction."""
    position: int
    kinds: dict[Kind, int] = msgspec.field(default_factory=dict)
    """The last position of each kind of which rows were published."""
    topics: set[str] = msgspec.field(default_factory=set)
    remembered: Remembered = msgspec.field(default_factory=list)

    def add(self, tx: WriteTransaction) -> None:
        """Count in what a function has published and remembered; it has its positions."""
        for row in tx.published:
            self.position = row.position
            for kind in row.kinds:
                self.kinds[kind] = row.position
            self.topics.update(row.topics)
        self.topics |= tx.told
        self.remembered += tx.remembered


class _News(msgspec.Struct, frozen=True, eq=False):
    """What a commit has published, to be told in the reactor's thread."""

    on_commit: OnCommit
    position: int
    topics: Collection[str]

    def settle(self) -> None:
        """Tell it."""
        self.on_commit(self.position, self.topics)


class WriterThread(threading.Thread):
    """Holds one connection and runs write functions on it: all that wait, in one transaction, with one commit.

    A transaction locks the stream's row before anything else (SQLite: the database), whichever process it is of.
    So no two of them ever wait for each other, and positions are simply counted.

    A function that fails takes only its own changes with it. On SQLite each has a savepoint, opened before its first
    change. On PostgreSQL, where a savepoint costs as much as the function's own statements, nothing is done
    beforehand: after a failure that followed a change the transaction is begun anew, and the function runs by itself.
    """

    ATTEMPTS = 8
    MOST = 64
    """Functions that share a transaction."""

    def __init__(
        self,
        location: Location,
        jobs: Jobs,
        caches: Caches,
        numbers: NumberPool,
        on_commit: OnCommit,
        log_length: LogLength,
    ) -> None:
        super().__init__(name="database-writer", daemon=True)
        connect = writing_connector(location)
        self._driver = location.driver
        # After these the transaction is run again; it has had no effect.
        self._again: tuple[type[Exception], ...] = (
            NumbersRanOut,
            _LostBeforeCommit,
            *self._driver.conflicts,
        )
        self._link = Link(self._driver, connect, connect)
        self._backend = location.backend
        self._jobs = jobs
        self._caches = caches
        self._numbers = numbers
        self._on_commit = on_commit
        self._log_length = log_length
        self._at_risk = 0
        self._committed: list[_News] = []
        self._set_positions: dict[tuple[Kind, ...], Statement] = {}

    def open(self) -> None:
        """Connect. Errors: `DatabaseError`."""
        self._link.get()

    def close(self) -> None:
        """Disconnect; for a thread that has not been started."""
        self._link.close()

    def run(self) -> None:
        """Work until the queue is closed."""
        while jobs := self._jobs.take(self.MOST):
            self._run_together(jobs)
            # Who sends an event is answered before others see it: clients mistake an event that `/sync` shows them
            # before its sending was answered for somebody else's.
            self._jobs.finish([*jobs, *self._committed])
            self._committed.clear()
            self._log_length.shorten(self._link)
        self._link.close()

    def _run_together(self, jobs: list[Job]) -> None:
        """Run the jobs in one transaction; if that cannot be committed as a whole, each by itself."""
        if len(jobs) > 1:
            try:
                self._transaction(jobs)
            except _Spoilt as spoilt:
                at = jobs.index(spoilt.job)
                for part in (jobs[:at], jobs[at : at + 1], jobs[at + 1 :]):
                    self._run_together(part)
                return
            except BaseException as error:  # noqa: BLE001 - each job shows it again, if it is its own
                reason = self._driver.unavailable(error)
                if not isinstance(error, self._again) and reason is not None:
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
        """Run the jobs and commit. Errors of one job among others stay with it, or are `_Spoilt`."""
        durable = self._at_risk > MOST_AT_RISK or any(job.durable for job in jobs)
        connection = self._link.get()
        try:
            if self._numbers.is_low:
                self._lease(connection)
            position = connection.begin_write(durable=durable)
            batch = _Batch(position, position)
            for job in jobs:
                self._run_function(connection, job, batch, alone=len(jobs) == 1)
            if batch.kinds:
                self._move_on(connection, batch)
        except BaseException as error:  # whatever it is: no transaction may stay open
            self._link.roll_back()
            if self._link.is_lost and self._driver.unavailable(error) is not None:
                raise _LostBeforeCommit(str(error)) from error
            raise
        self._commit(connection)
        self._at_risk = 0 if durable else self._at_risk + batch.position - batch.start
        for cache, key, value in batch.remembered:
            cache.put(key, value)
        if batch.topics:
            self._committed.append(_News(self._on_commit, batch.position, batch.topics))

    def _commit(self, connection: Connection) -> None:
        """Commit. If the connection breaks now, nobody knows whether it was done: it is not tried again."""
        try:
            connection.commit()
        except BaseException:  # as above
            self._link.roll_back()
            raise

    def _run_function(self, connection: Connection, job: Job, batch: _Batch, *, alone: bool) -> None:
        """Run one function, and store what it publishes."""
        tx = self._open_transaction(connection)
        tx.savepoint_wanted = connection.has_savepoints and not alone
        job.error = None
        try:
            job.result = job.function(tx, *job.args, **job.kwargs)
            _check(connection, job, tx)
            tx.flush(batch.position)
        except self._again:
            raise
        except Exception as error:  # it is handed to the one who asked for this function; the others go on
            if alone or self._driver.unavailable(error) is not None:
                raise
            self._take_back(connection, job, tx, error)
            job.error = error
            return
        batch.add(tx)
        if tx.savepoint_wanted and tx.changed:
            connection.cursor.execute("RELEASE function")

    @staticmethod
    def _take_back(connection: Connection, job: Job, tx: WriteTransaction, error: Exception) -> None:
        """Undo what a failed function has changed, if anything; the others go on."""
        if tx.savepoint_wanted and connection.in_transaction:
            if tx.changed:
                connection.cursor.execute("ROLLBACK TO function")
                connection.cursor.execute("RELEASE function")
        elif tx.changed or not connection.in_transaction:
            raise _Spoilt(job) from error

    def _move_on(self, connection: Connection, batch: _Batch) -> None:
        """Move the stream on to the last position that was taken."""
        kinds = tuple(kind for kind in Kind if kind in batch.kinds)
        query = self._set_positions.get(kinds)
        if query is None:
            query = self._set_positions[kinds] = set_positions(kinds)
        last = {f"last_{kind.value}": batch.kinds[kind] for kind in kinds}
        self._open_transaction(connection).execute(query, last=batch.position, **last)

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


def _check(connection: Connection, job: Job, tx: WriteTransaction) -> None:
    """Errors: TransactionEnded if the function has hidden that a statement failed; ValueError as `publish` says."""
    if not connection.in_transaction:
        raise TransactionEnded(f"{job.function} went on after a failed statement")
    if not job.durable and any(row.room_before for row in tx.published):
        # More than `leaps` makes up for would be given out twice.
        raise ValueError(f"{job.function} leaves positions free, and does not wait for the disk")


def set_positions(kinds: Collection[Kind]) -> Statement:
    """Sets the stream's position to `last`, and those of the kinds to `last_<kind>`."""
    values: dict[str, Any] = {kind.value: bindparam(f"last_{kind.value}") for kind in kinds}
    return statement(update(stream).values(position=bindparam("last"), **values))
