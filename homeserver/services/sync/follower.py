"""Following the stream: reads what is new after every hint, and wakes whom it concerns."""

from collections.abc import Collection

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from homeserver.core.identifiers import UserID
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.sync.remembered import Remembered
from homeserver.services.sync.tail import Tail, TailRows, read_tail
from homeserver.services.sync.waiters import Waiters

_log = structlog.get_logger(__name__)


class Follower:
    """Keeps this process's tail. One read at a time; hints that come meanwhile cause one more.

    What concerns nobody who waits is put off for a moment, and read with what comes after it: most of what is published
    where nobody is online. Whoever comes has it read at once (`catch_up`, `hurry`).
    """

    TICK_S = 5.0
    """A tick rereads anyway, should a hint have been lost."""

    PAUSE_S = 0.2
    """How long that is put off."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        reactor: IReactorTime,
        waiters: Waiters,
        remembered: Remembered,
    ) -> None:
        self.tail = Tail(0)
        self._database = database
        self._clock = clock
        self._reactor = reactor
        self._waiters = waiters
        self._remembered = remembered
        self._reading = False
        self._again = False
        self._hinted: set[str] = set()
        self._blind = False
        self._started = False
        self._stopped = False
        self._tick: IDelayedCall | None = None
        self._put_off: IDelayedCall | None = None
        self._behind: list[Deferred[None]] = []

    async def start(self) -> None:
        """Begin at the stream's present end; hints before that are for nobody."""
        self.tail.begin_anew(await self._database.read(_position))
        self._started = True
        self._schedule()
        self._read_on()

    def stop(self) -> None:
        """Follow no more."""
        self._stopped = True
        if self._tick is not None and self._tick.active():
            self._tick.cancel()
        self._cancel_pause()

    def hint(self, topics: Collection[str]) -> None:
        """Something was published, by this process or another, and told to these topics."""
        self._hinted.update(topics)
        if self._waiters.are_told_by(topics):
            self._read_on()
        elif self._put_off is None and self._started and not self._stopped:
            self._put_off = self._reactor.callLater(self.PAUSE_S, self.hurry)

    def hurry(self) -> None:
        """Read what was put off, if anything was: somebody waits now whom it may concern."""
        if self._put_off is not None:
            self._read_on()

    async def catch_up(self) -> None:
        """As `hurry`, and wait until it has been read, or could not be."""
        if self._put_off is not None:
            done: Deferred[None] = Deferred()
            self._behind.append(done)
            self._read_on()
            await done

    def lost_touch(self) -> None:
        """Hints may have been lost: what relied on them is dropped, and the stream is read again."""
        self._remembered.clear()
        self._blind = True
        self._read_on()

    def _read_on(self) -> None:
        """Read what is new, now."""
        self._cancel_pause()
        if self._reading:
            self._again = True
        elif self._started and not self._stopped:
            self._reading = True
            Deferred.fromCoroutine(self._advance())

    def _cancel_pause(self) -> None:
        put_off, self._put_off = self._put_off, None
        if put_off is not None and put_off.active():
            put_off.cancel()

    async def _advance(self) -> None:
        try:
            again = True
            while again and not self._stopped:
                self._again = False
                await self._read()
                again = self._again
        except StorageUnavailable as error:
            _log.warning("the stream could not be followed", reason=str(error))
        finally:
            self._reading = False
            behind, self._behind = self._behind, []
            for each in behind:
                if not each.called:
                    each.callback(None)

    async def _read(self) -> None:
        hinted, self._hinted = self._hinted, set()
        blind, self._blind = self._blind, False
        try:
            rows = await self._rows()
        except BaseException:
            # The next turn is to wake whom this one has not.
            self._hinted |= hinted
            self._blind |= blind
            raise
        topics = set(self.tail.extend(rows)) if rows.upto != self.tail.position else set()
        # Of kinds that the tail does not follow, only the hints say whom they concern. A hint may come after its rows.
        topics |= hinted
        for topic in topics:
            if topic.startswith("user:"):
                self._remembered.forget_rooms(UserID(topic[5:]))
            elif topic.startswith("keys:"):
                self._remembered.forget_keys(UserID(topic[5:]))
        if rows.skipped:
            self._remembered.clear()
        if rows.skipped or (blind and rows.unsure):
            self._waiters.wake_all()
        else:
            self._waiters.wake(topics)

    async def _rows(self) -> TailRows:
        """What is new. If it cannot be read, whatever one row holds, the tail goes on behind it."""
        try:
            return await self._database.read(read_tail, after=self.tail.position, now_ts=self._clock.now_ts())
        except (StorageUnavailable, CancelledError):
            raise
        except Exception:  # noqa: BLE001 - as above
            _log.exception("the stream could not be followed", after=self.tail.position)
            return TailRows(await self._database.read(_position), [], unsure=True, skipped=True)

    def _schedule(self) -> None:
        if not self._stopped:
            self._tick = self._reactor.callLater(self.TICK_S, self._on_tick)

    def _on_tick(self) -> None:
        self._read_on()
        self._schedule()


def _position(tx: ReadTransaction) -> int:
    return tx.stream_row().position
