"""Threads that run read transactions."""

import threading
import time

from homeserver.database.drivers import Location
from homeserver.database.jobs import Job, Jobs
from homeserver.database.leaps import reading_reconnector
from homeserver.database.links import Link
from homeserver.database.transactions import Caches, ReadTransaction


class ReaderThread(threading.Thread):
    """Holds one connection; each function sees its own snapshot."""

    MOST = 8
    """Functions taken at once: enough to share a wake-up of the reactor, few enough to share the work."""

    PATIENCE_S = 0.002
    """How long outcomes wait for the other functions that were taken with theirs."""

    def __init__(self, location: Location, jobs: Jobs, caches: Caches) -> None:
        super().__init__(name="database-reader", daemon=True)
        self._driver = location.driver
        self._link = Link(self._driver, location.connector(read_only=True), reading_reconnector(location))
        self._backend = location.backend
        self._jobs = jobs
        self._caches = caches

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
        self._link.close()

    def _run_together(self, jobs: list[Job]) -> None:
        """Run the functions one after the other, and send their outcomes together where that delays none."""
        done: list[Job] = []
        started = time.monotonic()
        for job in jobs:
            # Nobody waits for what was cancelled, and a read has no other effect.
            if not job.is_cancelled:
                self._run(job)
                done.append(job)
            if done and time.monotonic() - started > self.PATIENCE_S:
                self._jobs.finish(done)
                done, started = [], time.monotonic()
        if done:
            self._jobs.finish(done)

    def _run(self, job: Job) -> None:
        """Run the function; once more if the connection turns out to be broken."""
        for attempt in (1, 2):
            job.error = None
            try:
                self._transaction(job)
            except BaseException as error:  # noqa: BLE001 - it is handed to the caller, whatever it is
                job.error = self._driver.unavailable(error) or error
                if attempt == 1 and self._link.is_lost:
                    continue
            return

    def _transaction(self, job: Job) -> None:
        connection = self._link.get()
        tx = ReadTransaction(connection.cursor, self._backend, self._caches)
        if job.is_single:
            try:
                job.result = job.function(tx, *job.args, **job.kwargs)
            finally:
                # On SQLite a statement with rows left keeps its snapshot, and with it the log from beginning anew.
                connection.cursor.fetchall()
            return
        connection.begin_read()
        try:
            job.result = job.function(tx, *job.args, **job.kwargs)
            # There is nothing to keep, but PostgreSQL's statistics take a rollback for a failure.
            connection.commit()
        except BaseException:  # whatever it is: no transaction may stay open
            self._link.roll_back()
            raise
