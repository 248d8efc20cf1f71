"""Following the stream for the outbox: one reading at a time for the whole process, after hints and at ticks."""

from collections.abc import Callable, Collection
from typing import Final

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from homeserver.core.topics import OUTBOX
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.runtime.clock import Clock
from homeserver.services.federation_outbox.reading import Batch, StreamReader
from homeserver.services.federation_outbox.shards import Shards

_log = structlog.get_logger(__name__)

PAUSE_S: Final = 0.25
"""Receipts, typing and presence are looked for this long after whatever was published: most of it is for nobody."""


class Feed:
    """Reads what is new for the shards that are held, and hands it on in batches."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        reactor: IReactorTime,
        shards: Shards,
        reader: StreamReader,
        take: Callable[[Batch], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._reactor = reactor
        self._shards = shards
        self._reader = reader
        self._take = take
        self._reading = False
        self._again = False
        self._stopped = False
        self._soon: IDelayedCall | None = None

    def hint(self, topics: Collection[str]) -> None:
        """Something was published, and told to these topics."""
        if OUTBOX in topics:
            self.read_on()
        elif self._soon is None and not self._stopped:
            self._soon = self._reactor.callLater(PAUSE_S, self._read_soon)

    def read_on(self) -> None:
        """Read what is new, now."""
        if self._reading:
            self._again = True
        elif not self._stopped:
            self._reading = True
            Deferred.fromCoroutine(self._advance())

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def _read_soon(self) -> None:
        self._soon = None
        self.read_on()

    async def _advance(self) -> None:
        try:
            self._again = True
            while self._again and not self._stopped:
                self._again = False
                await self._read()
        except StorageUnavailable as error:
            _log.warning("the stream could not be read for other servers", reason=str(error))
        except Exception:  # noqa: BLE001 - the next tick tries again: nothing may be left out
            _log.exception("the stream could not be read for other servers")
        finally:
            self._reading = False

    async def _read(self) -> None:
        after = self._shards.position()
        if after is None:
            return
        batch = await self._database.read(self._reader.read, after=after, now_ts=self._clock.now_ts())
        if self._stopped:
            return
        self._take(batch)
        if not batch.is_all:
            self._again = True
