"""Running a server as a process: until SIGTERM or SIGINT."""

import asyncio
import linecache
import signal
from collections.abc import Callable
from typing import cast

import structlog
from twisted.internet.defer import Deferred

from homeserver.app.build import Reactor, Server, build
from homeserver.config.sections import Config
from homeserver.core.signing import SigningKey
from homeserver.database.errors import DatabaseError
from homeserver.http.listen import CertificateError, ListenError
from homeserver.runtime import garbage
from homeserver.runtime.bus import BusError
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.reactor import install

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The server cannot start; one line says why and what to do."""


def run(config: Config, key: SigningKey, on_ready: Callable[[list[int]], None]) -> None:
    """Run until told to stop; `on_ready` is called with the ports when requests are accepted.

    Errors: StartError.
    """
    install()
    from twisted.internet import reactor as installed  # noqa: PLC0415 - it exists only once installed

    # attrs keeps the text of what it has generated for each class, for tracebacks: two megabytes.
    linecache.clearcache()
    reactor = cast("Reactor", installed)
    failures: list[BaseException] = []

    async def live() -> None:
        # First of all: who starts a server may also want to stop it at once.
        told = _signalled()
        server = build(config, key, reactor, SystemClock())
        try:
            await server.start()
        except BaseException:  # whatever it is: what has been started has to be stopped
            await server.stop()
            raise
        garbage.settle()
        on_ready(server.ports)
        await told
        _log.info("stopping")
        await server.stop()
        _log.info("stopped")

    def finished(result: object) -> None:
        failure = getattr(result, "value", None)
        if isinstance(failure, BaseException):
            failures.append(failure)
        reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(live()).addBoth(finished)

    reactor.callWhenRunning(begin)
    # Twisted's own handlers would end the reactor at once.
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]  # the interface lacks it
    if failures:
        raise _start_error(failures[0]) from failures[0]


def _start_error(error: BaseException) -> BaseException:
    if isinstance(error, DatabaseError | ListenError | CertificateError | BusError):
        return StartError(str(error))
    return error


def _signalled() -> Deferred[None]:
    """Fires at the first SIGTERM or SIGINT."""
    told: Deferred[None] = Deferred()

    def tell() -> None:
        if not told.called:
            told.callback(None)

    loop = asyncio.get_event_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    return told


__all__ = ["Server", "StartError", "run"]
