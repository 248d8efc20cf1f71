"""Waiting for the members of rooms that were entered without them."""

from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from homeserver.core.errors import LimitExceeded
from homeserver.core.identifiers import RoomID
from homeserver.database.database import Database, Rerun
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.partial_states import StateWanted
from homeserver.runtime.clock import Clock
from homeserver.storage import partial_joins, rooms

PATIENCE_MS: Final = 30_000
"""How long a request waits."""

RETRY_AFTER_MS: Final = 10_000

STEP_S: Final = 0.1
"""How often it is looked whether they are there: any process may have fetched them."""


class AwaitedMembers(msgspec.Struct, frozen=True):
    """Waits; where they are there, which is nearly always, that costs one look."""

    database: Database
    clock: Clock
    reactor: IReactorTime

    async def wait(self, room_id: RoomID, *, most_ms: int) -> bool:
        """Wait until the room's members are there; whether they are. Those that nobody fetches are not waited for."""
        deadline_ms = self.clock.monotonic_ms() + most_ms
        while await self.database.read(are_awaited, room_id):
            if self.clock.monotonic_ms() >= deadline_ms:
                return False
            await deferLater(self.reactor, STEP_S)
        return True

    async def need(self, room_id: RoomID) -> None:
        """Wait for a request that cannot be answered without them. Errors: LimitExceeded if it takes too long."""
        if not await self.wait(room_id, most_ms=PATIENCE_MS):
            raise LimitExceeded(
                "The members of the room are still being fetched", retry_after_ms=RETRY_AFTER_MS
            )

    def clear(self, wanted: StateWanted, again: Rerun) -> Deferred[Any]:
        """As `Database.clear`. Errors: LimitExceeded, and those of what is done again."""
        return Deferred.fromCoroutine(self._clear(wanted, again))

    async def _clear(self, wanted: StateWanted, again: Rerun) -> Any:
        await self.need(wanted.room_id)
        try:
            return await again()
        except StateWanted as error:
            message = "The members of the room are not known"
            raise LimitExceeded(message, retry_after_ms=RETRY_AFTER_MS) from error


def are_awaited(tx: ReadTransaction, room_id: RoomID) -> bool:
    """Whether most members of the room are being fetched."""
    room = rooms.of(tx, room_id)
    return room is not None and room.is_partial and partial_joins.underway(tx, room.room_nid) is not None
