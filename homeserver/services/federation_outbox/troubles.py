"""Destinations that do not answer: noted in the database, left alone for a while, and forgotten otherwise."""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from homeserver.core.backoff import Backoff
from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.runtime.clock import Clock
from homeserver.services.federation_outbox.queues import REMEMBERED_FAILURES, Behind, Queue, Queues
from homeserver.storage import destinations
from homeserver.storage.destinations import Destination

_log = structlog.get_logger(__name__)

BACKOFF: Final = Backoff(first_ms=10_000, cap_ms=24 * 3_600_000)
"""After about two days without an answer a server is tried once a day, or when it is heard of."""


class Troubles(msgspec.Struct, frozen=True):
    """Notes who is behind, since when, and when to try again."""

    database: Database
    clock: Clock
    queues: Queues
    chance: Callable[[], float]

    async def fail(self, queue: Queue, reason: str, *, read_upto: int) -> None:
        """The destination could not be reached, or would not answer: all that waits for it is dropped from memory.

        `read_upto` is up to where the stream has been read for it.
        """
        now_ts = self.clock.now_ts()
        known = self.queues.behind.get(queue.server_name)
        before = None if known is None else known.destination
        failures = 1 + (0 if before is None else before.failures)
        since_ts = None if before is None else before.failing_since_ts
        from_position, done = _begins(queue, read_upto)
        if failures > REMEMBERED_FAILURES:
            done = {}
        destination = Destination(
            queue.server_name,
            failures,
            now_ts if since_ts is None else since_ts,
            now_ts + BACKOFF.delay_ms(failures, jitter=self.chance()),
            from_position,
            None,
            reason,
        )
        self.queues.behind[queue.server_name] = Behind(destination, is_stored=False, done=done)
        self.queues.drop(queue)
        _log.info(
            "a server could not be sent to", destination=queue.server_name, failures=failures, reason=reason
        )
        await self.store(queue.server_name)

    async def lag(self, queue: Queue, *, read_upto: int) -> None:
        """More waits for the destination than is held in memory: it is brought up to date from the database."""
        from_position, _ = _begins(queue, read_upto)
        self.queues.fall_behind(queue, from_position)
        destination = Destination(queue.server_name, 0, None, 0, from_position, None, None)
        self.queues.behind[queue.server_name] = Behind(destination, is_stored=False, done={})
        _log.info("a server is far behind", destination=queue.server_name)
        await self.store(queue.server_name)

    async def store(self, server_name: ServerName) -> None:
        """Note in the database who is behind; what cannot be noted now is noted later."""
        behind = self.queues.behind.get(server_name)
        if behind is None or behind.is_stored:
            return
        destination = behind.destination
        try:
            await self.database.write(destinations.put, destination)
        except StorageUnavailable as error:
            _log.warning("it could not be noted that a server is behind", reason=str(error))
            return
        if behind.destination is destination:
            behind.is_stored = True
            # It is in the database; what is kept of a dead server is to be little.
            behind.destination = msgspec.structs.replace(destination, last_error=None)

    async def store_all(self) -> None:
        """Note what could not be noted before."""
        for server_name, behind in list(self.queues.behind.items()):
            if not behind.is_stored:
                await self.store(server_name)

    def answers(self, server_name: ServerName) -> None:
        """The destination has taken a transaction: should it fail again, that is the first time."""
        behind = self.queues.behind.get(server_name)
        if behind is not None and behind.destination.failures:
            behind.destination = msgspec.structs.replace(
                behind.destination, failures=0, failing_since_ts=None
            )

    async def recovered(self, server_name: ServerName) -> None:
        """The destination has everything. Errors: StorageUnavailable."""
        behind = self.queues.behind.get(server_name)
        if behind is None:
            return
        await self.database.write(destinations.recovered, server_name, now_ts=self.clock.now_ts())
        if self.queues.behind.get(server_name) is behind:
            del self.queues.behind[server_name]
            _log.info("a server is up to date again", destination=server_name)


def _begins(queue: Queue, read_upto: int) -> tuple[int, dict[int, int]]:
    """From where the destination is to be brought up to date, and what it has beyond that, by room."""
    if queue.catch_up is not None:
        return queue.catch_up.behind_from, queue.catch_up.done
    lowest = queue.lowest()
    return read_upto if lowest is None else lowest - 1, {}
