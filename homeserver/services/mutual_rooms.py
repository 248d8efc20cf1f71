"""The rooms that two users share. Spec: client-server API, "Mutual Rooms"."""

from typing import Final

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import memberships

MOST_AT_ONCE: Final = 500


class SharedRooms(msgspec.Struct, frozen=True):
    """Some of the rooms; `count` counts all, `next_batch` leads to further ones."""

    joined: list[RoomID]
    count: int
    next_batch: str | None


class MutualRooms(msgspec.Struct, frozen=True):
    """Finds the rooms that two users share."""

    database: Database

    async def between(self, requester: Requester, user_id: UserID, place: str | None) -> SharedRooms:
        """The rooms that both are joined to; none for a user of whom this server knows nothing.

        Errors: InvalidParam for the requester's own user ID, or a `place` that is no `next_batch`.
        """
        if user_id == requester.user_id:
            raise InvalidParam("You share all your rooms with yourself")
        if place is not None and not (place.isascii() and place.isdigit() and len(place) <= 18):
            raise InvalidParam("from is not a token of this server")
        after = -1 if place is None else int(place)
        return await self.database.read(read_shared, requester.user_id, user_id, after=after)


def read_shared(tx: ReadTransaction, one: UserID, other: UserID, *, after: int) -> SharedRooms:
    """Those with greater numbers than `after`."""
    found = memberships.shared(tx, one, other, after=after, most=MOST_AT_ONCE + 1)
    shown = found[:MOST_AT_ONCE]
    return SharedRooms(
        [room_id for _, room_id in shown],
        memberships.count_shared(tx, one, other),
        str(shown[-1][0]) if len(found) > len(shown) else None,
    )
