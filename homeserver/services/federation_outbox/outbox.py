"""The outbox: sends what the stream has for other servers, to each in order, whatever becomes of them.

When something is sent to a room, nothing is written for its destinations. Each process reads the stream once for
the shards of destinations that it holds, and keeps what it read in a queue per destination until that has it. How far
a shard is, is noted about once a second: after a crash some things are sent again, which receivers ignore. Only a
destination that does not answer gets a row; it is brought up to date from the database when it answers again.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
import structlog
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.services.federation_outbox.carrier import Carrier
from homeserver.services.federation_outbox.delivery import Delivery
from homeserver.services.federation_outbox.feed import Feed
from homeserver.services.federation_outbox.intake import Intake
from homeserver.services.federation_outbox.measures import NoOutboxMetrics, OutboxMetrics
from homeserver.services.federation_outbox.queues import Behind, Queue, Queues, shard_of
from homeserver.services.federation_outbox.reading import Batch, StreamReader
from homeserver.services.federation_outbox.shards import Shards
from homeserver.services.federation_outbox.slots import Slots
from homeserver.services.federation_outbox.sources import EduSource
from homeserver.services.federation_outbox.transmitter import Transmitter
from homeserver.services.federation_outbox.troubles import Troubles
from homeserver.storage import destinations

_log = structlog.get_logger(__name__)

MOST_AT_ONCE: Final = 50
"""Destinations that are being sent to."""

MOST_CATCHING_UP: Final = 30
"""Destinations that are being brought up to date, beside those."""

HEARD_AGAIN_MS: Final = 60_000
"""A destination that makes requests but does not answer ours is not tried more often because of that."""

REREAD_TICKS: Final = 5
"""At every fifth tick the stream is read anyway, should a hint have been lost."""

STOPPING_S: Final = 1.5
"""How long running transactions may take when the server stops."""


class Identity(msgspec.Struct, frozen=True):
    """In whose name is sent, and by which process; `allows` says with which servers this one deals."""

    server_name: ServerName
    holder: str
    allows: Callable[[ServerName], bool] = lambda _: True


class Outbox:
    """Sends to other servers. `start` it, call `tick`, `renew` and `retry_due` again and again, and `stop` it."""

    def __init__(
        self,
        identity: Identity,
        database: Database,
        clock: Clock,
        reactor: IReactorTime,
        transmitter: Transmitter,
        chance: Callable[[], float],
        *,
        metrics: OutboxMetrics | None = None,
        sources: Sequence[EduSource] = (),
    ) -> None:
        self._server_name = identity.server_name
        self._database = database
        self._clock = clock
        self.queues = Queues()
        self.shards = Shards(database, clock, identity.holder)
        self._troubles = Troubles(database, clock, self.queues, chance)
        self._carrier = Carrier(identity.server_name, identity.holder, transmitter, clock, reactor, chance)
        delivery = Delivery(
            database,
            self.queues,
            self.shards,
            self._carrier,
            self._troubles,
            metrics or NoOutboxMetrics(),
            sources,
        )
        reader = StreamReader(identity.server_name, identity.allows, sources)
        self._feed = Feed(database, clock, reactor, self.shards, reader, self._take)
        self._live = Slots(reactor, delivery.turn, self._schedule, most=MOST_AT_ONCE)
        self._catching_up = Slots(reactor, delivery.turn, self._schedule, most=MOST_CATCHING_UP)
        self._heard: Cache[ServerName, int] = Cache(5_000)
        self._is_started = False
        self._is_stopping = False
        self._ticks = 0

    @property
    def transactions(self) -> int:
        """How many are on their way."""
        return self._live.running + self._catching_up.running

    async def start(self) -> None:
        """Take shards, and begin with what has not been sent. Errors: StorageUnavailable."""
        self._is_started = True
        await self.renew()

    async def stop(self) -> None:
        """Let running transactions end, note how far everything is, and leave it to others."""
        self._is_stopping = True
        self._feed.stop()
        if not self._is_started:
            return
        self._carrier.stop_pausing()
        await self._live.stop(STOPPING_S)
        await self._catching_up.stop(0.1)
        try:
            await self._troubles.store_all()
            await self.shards.leave(self.queues.limits())
        except StorageUnavailable as error:
            # Then it is found out again, and some things are sent twice.
            _log.warning("how far other servers are could not be noted", reason=str(error))

    def hint(self, topics: Collection[str]) -> None:
        """Something was published, by this process or another, and told to these topics."""
        self._feed.hint(topics)

    def lost_touch(self) -> None:
        """Hints may have been lost."""
        self._feed.read_on()

    async def tick(self) -> None:
        """Note how far everything is, and send what waited for company; to be called about once a second.

        Errors: StorageUnavailable.
        """
        self._ticks += 1
        if self._ticks % REREAD_TICKS == 0:
            self._feed.read_on()
        for queue in self.queues:
            queue.is_flushing = True
            if queue.has_work:
                self._schedule(queue)
            elif queue.is_empty and not queue.is_scheduled and self._has_joined(queue):
                self.queues.drop(queue)
        await self._troubles.store_all()
        await self.shards.advance(self.queues.limits())

    async def renew(self) -> None:
        """Keep the shards; to be called about every ten seconds. Errors: StorageUnavailable."""
        renewal = await self.shards.renew()
        if self._is_stopping:
            return
        self.queues.drop_shards({*renewal.lost, *renewal.new})
        for destination in renewal.behind:
            if shard_of(destination.server_name) in renewal.new:
                self.queues.behind[destination.server_name] = Behind(
                    msgspec.structs.replace(destination, last_error=None), is_stored=True, done={}
                )
        if renewal.surplus:
            limits = self.queues.limits()
            self.queues.drop_shards(renewal.surplus)
            await self.shards.give_up(renewal.surplus, limits)
        self._feed.read_on()

    async def retry_due(self) -> None:
        """Try those again whose time has come; to be called every second or two. Errors: StorageUnavailable."""
        if not self.queues.behind or self._is_stopping:
            return
        due = await self._database.look_up(destinations.due, now_ts=self._clock.now_ts())
        free = MOST_CATCHING_UP - sum(queue.catch_up is not None for queue in self.queues)
        for server_name in due:
            behind = self.queues.behind.get(server_name)
            if free <= 0 or self._is_stopping:
                return
            if behind is None or self.queues.get(server_name) is not None:
                continue
            free -= 1
            self._retry(behind)

    def heard_of(self, server_name: ServerName) -> None:
        """As `heard_from`, for who does not wait for it."""
        if server_name in self.queues.behind or shard_of(server_name) not in self.shards.held:
            Deferred.fromCoroutine(self._heard_of(server_name))

    async def heard_from(self, server_name: ServerName) -> None:
        """A server has made a request: if it is behind, it is tried at once, wherever its shard is held.

        Errors: StorageUnavailable.
        """
        shard = shard_of(server_name)
        if shard in self.shards.held and server_name not in self.queues.behind:
            return
        now_ms = self._clock.monotonic_ms()
        last = self._heard.get(server_name)
        if last is not None and now_ms < last + HEARD_AGAIN_MS:
            return
        self._heard.put(server_name, now_ms)
        if await self._database.write_soon(destinations.hasten, server_name):
            await self.retry_due()

    async def _heard_of(self, server_name: ServerName) -> None:
        try:
            await self.heard_from(server_name)
        except StorageUnavailable as error:
            _log.info("that a server was heard of was not noted", reason=str(error))

    def _retry(self, behind: Behind) -> None:
        destination = behind.destination
        from_position = destination.behind_from or 0
        self._schedule(self.queues.begin_catch_up(destination.server_name, from_position, dict(behind.done)))

    def _schedule(self, queue: Queue) -> None:
        slots = self._live if queue.catch_up is None else self._catching_up
        slots.add(queue)

    def _has_joined(self, queue: Queue) -> bool:
        """Whether the stream has been read up to where the queue began."""
        shard = self.shards.held.get(queue.shard)
        behind = queue.server_name in self.queues.behind
        return not behind and (shard is None or queue.after <= shard.read_upto)

    def _take(self, batch: Batch) -> None:
        """Queue what was read, and send it."""
        touched = Intake(self.queues, self.shards, batch).take()
        for queue in self.queues.overflowing(touched):
            shard = self.shards.held[queue.shard]
            Deferred.fromCoroutine(self._troubles.lag(queue, read_upto=shard.read_upto))
        for queue in touched:
            if queue.has_work:
                self._schedule(queue)
