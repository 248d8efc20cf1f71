"""The accounts of a server's database, for commands: the server may be running beside them, or not."""

from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.app.appservices import make_appservices
from homeserver.cli.preparation import bring_up_to_date
from homeserver.config import load
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.worker_pool import WorkerPool
from homeserver.services.accounts import Accounts
from homeserver.services.attempts import InMemoryAttempts
from homeserver.services.passwords import Passwords
from homeserver.services.user_names import UserNames

T = TypeVar("T")


class MainThread:
    """All that a command needs of a reactor: a place where threads hand in their results."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[..., object]] = SimpleQueue()

    def callFromThread(self, f: Callable[..., object], /) -> object:  # noqa: N802 - Twisted's name
        """Call `f` in this thread, soon."""
        self._calls.put(f)
        return None

    def run(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """Wait for `work`; its result. Errors: what it raises."""
        results: list[T] = []
        failures: list[Failure] = []
        Deferred.fromCoroutine(work).addCallbacks(results.append, failures.append)
        while not results and not failures:
            self._calls.get()()
        if failures:
            failures[0].raiseException()
        return results[0]


def with_accounts(config_path: Path, act: Callable[[Accounts], Coroutine[Deferred[Any], Any, T]]) -> T:
    """Do something with the accounts of the server that is configured at `config_path`.

    Errors: ConfigError, DatabaseError, and what `act` raises.
    """
    config = load(config_path)
    location = Location.parse(config.database)
    bring_up_to_date(location, config_path)
    loop, clock = MainThread(), SystemClock()
    names = UserNames(config.server_name, make_appservices(config))
    database = Database(location, loop, on_commit=_tell_nobody, readers=1)
    pool = WorkerPool(loop, threads=1)
    passwords = Passwords(database, names, pool, InMemoryAttempts(clock))
    accounts = Accounts(database, clock, names, passwords, departures=None)
    pool.start()
    try:
        database.start()
        try:
            return loop.run(act(accounts))
        finally:
            database.stop()
    finally:
        pool.stop()


def _tell_nobody(_position: int, _topics: Collection[str]) -> None:
    """Running processes find the change by themselves within seconds."""
