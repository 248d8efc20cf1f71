"""Threads that run read transactions."""

import threading

from homeserver.database.drivers import Connection, Location, unavailable
from homeserver.database.errors import DatabaseError, StorageUnavailable
from homeserver.database.jobs import Job, Jobs
from homeserver.database.transactions import Caches, ReadTransaction


class ReaderThread(threading.Thread):
    """Holds one connection; each function sees its own snapshot."""

    MOST = 8
    """Functions taken at once: enough to share a wake-up of the reactor, few enough to share the work."""

    def __init__(self, location: Location, jobs: Jobs, caches: Caches) -> None:
        super().__init__(name="database-reader", daemon=True)
        self._connect = location.connector(read_only=True)
        self._backend = location.backend
        self._jobs = jobs
        self._caches = caches
        self._connection: Connection | None = None

    def open(self) -> None:
        """Connect. Errors: `DatabaseError`."""
        self._connection = self._connect()

    def run(self) -> None:
        """Work until the queue is closed."""
        while jobs := self._jobs.take(self.MOST):
            for job in jobs:
                self._run(job)
            self._jobs.finish(jobs)
        if self._connection is not None:
            self._connection.close()

    def _run(self, job: Job) -> None:
        for attempt in (1, 2):
            job.error = None
            try:
                connection = self._usable()
                connection.begin_read()
                try:
                    tx = ReadTransaction(connection.cursor, self._backend, self._caches)
                    job.result = job.function(tx, *job.args, **job.kwargs)
                finally:
                    connection.rollback()
            except DatabaseError as error:
                job.error = StorageUnavailable(str(error))
            except BaseException as error:  # noqa: BLE001 - it is handed to the caller, whatever it is
                job.error = unavailable(error) or error
                if attempt == 1 and self._connection is not None and not self._connection.is_usable():
                    continue
            return

    def _usable(self) -> Connection:
        if self._connection is None or not self._connection.is_usable():
            self._connection = self._connect()
        return self._connection
