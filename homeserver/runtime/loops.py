"""Work that is done again and again, in every process: each loop claims what it does by rows, so none is special."""

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_log = structlog.get_logger(__name__)


class Loop(msgspec.Struct, frozen=True):
    """A piece of work that is done `every_s` seconds after it was last done."""

    name: str
    every_s: float
    work: Callable[[], Awaitable[None]]


class Loops:
    """Runs the loops of one process; a loop that fails is logged and tried again at its next turn.

    Errors of the types `passing` are states of affairs, not bugs: they are logged in one line.
    """

    def __init__(
        self, reactor: IReactorTime, loops: list[Loop], *, passing: tuple[type[Exception], ...] = ()
    ) -> None:
        self._reactor = reactor
        self._passing = passing
        self._loops = loops
        self._waiting: dict[str, IDelayedCall] = {}
        self._running: dict[str, Deferred[None]] = {}
        self._stopped = False

    def start(self) -> None:
        """Let each loop have its first turn after its first pause."""
        for loop in self._loops:
            self._schedule(loop)

    async def stop(self) -> None:
        """Begin nothing any more, and wait for what is being done."""
        self._stopped = True
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
        for running in list(self._running.values()):
            done: Deferred[None] = Deferred()
            running.addBoth(_pass_on, done)
            await done

    def _schedule(self, loop: Loop) -> None:
        if not self._stopped:
            self._waiting[loop.name] = self._reactor.callLater(loop.every_s, self._turn, loop)

    def _turn(self, loop: Loop) -> None:
        self._waiting.pop(loop.name, None)
        running = self._running[loop.name] = Deferred.fromCoroutine(self._work(loop))
        running.addBoth(self._finished, loop)

    async def _work(self, loop: Loop) -> None:
        try:
            await loop.work()
        except CancelledError:
            return  # whoever did that has said why
        except self._passing as error:
            _log.warning("a loop could not do its work", loop=loop.name, reason=str(error))
        except Exception:  # noqa: BLE001 - a loop's bug must not end the loop
            # The next turn tries again: what was claimed is free again when its lease has expired.
            _log.exception("a loop failed", loop=loop.name)

    def _finished(self, result: object, loop: Loop) -> object:
        self._running.pop(loop.name, None)
        self._schedule(loop)
        return result


def _pass_on(result: object, done: Deferred[None]) -> object:
    done.callback(None)
    return result
