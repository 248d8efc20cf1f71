"""Guests leave rooms that no longer admit them. Spec: client-server API, "Guest Access"."""

import msgspec
import structlog

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomID
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.rooms.membership_changes import guests_can_join
from homeserver.runtime.clock import Clock
from homeserver.storage import memberships, rooms

_log = structlog.get_logger(__name__)

BATCH = 25
"""Guests who leave in one transaction."""


class GuestAccess(msgspec.Struct, frozen=True):
    """Keeps guests out where they may not be."""

    database: Database
    clock: Clock
    signer: Signer

    async def enforce(self, room_id: RoomID) -> None:
        """Let the guests leave a room unless it admits them; for when its guest access has changed."""
        try:
            while await self.database.write(
                remove_guests, self.signer, room_id, now_ts=self.clock.now_ts(), most=BATCH
            ):
                pass
        except MatrixError as error:
            # As by the room's policy server; it is tried again.
            _log.info("a room does not let its guests go", room=room_id, reason=str(error))

    async def enforce_everywhere(self) -> None:
        """As `enforce`, for all rooms with guests: about once an hour, should one have been missed."""
        for room_id in await self.database.read(memberships.rooms_with_guests):
            await self.enforce(room_id)


def remove_guests(tx: WriteTransaction, signer: Signer, room_id: RoomID, *, now_ts: int, most: int) -> bool:
    """Let up to `most` guests leave the room, unless it admits them; whether there may be more."""
    if rooms.nid_of(tx, room_id) is None:
        return False
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    if guests_can_join(appender):
        return False
    guests = memberships.joined_guests(tx, appender.room.room_nid, most=most)
    for user_id in guests:
        content = member_content(tx, user_id, "leave")
        appender.append(Draft(user_id, "m.room.member", content, state_key=user_id))
    appender.publish()
    return len(guests) == most
