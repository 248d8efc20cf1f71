"""Typing notifications. Spec: client-server API, "Typing Notifications"."""

import msgspec

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.presence import Presence
from homeserver.storage import memberships, typing

DEFAULT_TIMEOUT_MS = 30_000
MAX_TIMEOUT_MS = 120_000

REMEMBER_MS = 7 * 24 * 60 * 60 * 1000
"""How long it is known that someone has stopped: clients that were away for longer than this are not told."""

BATCH = 100


class Typing(msgspec.Struct, frozen=True):
    """Who is typing. What a power cut takes back would soon have ended: no write waits for the disk."""

    database: Database
    clock: Clock
    presence: Presence

    async def set(
        self,
        requester: Requester,
        user_id: UserID,
        room_id: RoomID,
        *,
        is_typing: bool,
        timeout_ms: int | None,
    ) -> None:
        """The requester types for `timeout_ms` (30 seconds if `None`, two minutes at most), or has stopped.

        Errors: Forbidden for another user, or if the requester is not joined to the room.
        """
        if user_id != requester.user_id:
            raise Forbidden("You cannot type for another user")
        now_ts = self.clock.now_ts()
        timeout_ms = DEFAULT_TIMEOUT_MS if timeout_ms is None else min(max(timeout_ms, 0), MAX_TIMEOUT_MS)
        expires_ts = now_ts + timeout_ms if is_typing else 0
        await self.database.write_soon(set_typing, user_id, room_id, now_ts=now_ts, expires_ts=expires_ts)
        if is_typing:
            await self.presence.active(requester)

    async def expire(self) -> None:
        """Tell the rooms of those whose time is over; to be called every second or so."""
        now_ts = self.clock.now_ts()
        while await self.database.read(typing.is_due, now_ts=now_ts):
            expired = await self.database.write_soon(typing.expire, now_ts=now_ts, most=BATCH)
            if len(expired) < BATCH:
                return

    async def prune(self) -> None:
        """Forget who stopped typing long ago; to be called about once an hour."""
        await self.database.write_soon(typing.prune, before_ts=self.clock.now_ts() - REMEMBER_MS)


def set_typing(
    tx: WriteTransaction, user_id: UserID, room_id: RoomID, *, now_ts: int, expires_ts: int
) -> None:
    """The user types in the room until `expires_ts`, or no longer if that has passed. Errors: Forbidden."""
    room = memberships.room_of(tx, user_id, room_id)
    if room is None or room.membership != "join":
        raise Forbidden("You are not joined to this room")
    room_nid = room.room_nid
    if expires_ts > now_ts:
        typing.start(tx, room_nid, room_id, user_id, now_ts=now_ts, expires_ts=expires_ts)
    else:
        typing.stop(tx, room_nid, room_id, user_id, now_ts=now_ts)
