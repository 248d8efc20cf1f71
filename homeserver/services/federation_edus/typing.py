"""`m.typing`: users of other servers type. Spec: server-server API, "Typing Notifications"."""

from collections.abc import Sequence
from typing import Final

import msgspec

from homeserver.core.identifiers import RoomID, ServerName, UserID, parse_room_id
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.content import read_as, read_each, user_of
from homeserver.services.server_acls import is_allowed
from homeserver.storage import memberships, rooms, typing

TIMEOUT_MS: Final = 60_000
"""A server that says nothing more has forgotten it, or is gone: its users have stopped."""


class TypingContent(msgspec.Struct):
    """The `content` of an EDU."""

    room_id: str
    user_id: str
    typing: bool


class _Change(msgspec.Struct, frozen=True):
    room_id: RoomID
    user_id: UserID
    is_typing: bool


class IncomingTyping(msgspec.Struct, frozen=True):
    """Who types elsewhere. No write waits for the disk."""

    database: Database
    clock: Clock

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """As `EduKind.receive`."""
        changes = read_each(_change_in, origin, contents, what="m.typing")
        if changes:
            await self.database.write_soon(apply, origin, changes, now_ts=self.clock.now_ts())


def apply(tx: WriteTransaction, origin: ServerName, changes: Sequence[_Change], *, now_ts: int) -> None:
    """Those who are joined to the rooms they name type there, or have stopped, unless their server may not be there."""
    for change in changes:
        room = rooms.of(tx, change.room_id)
        if room is None or not is_allowed(tx, room, origin):
            continue
        membership = memberships.of(tx, room.room_nid, change.user_id)
        if membership is None or membership.membership != "join":
            continue
        if change.is_typing:
            expires_ts = now_ts + TIMEOUT_MS
            typing.start(
                tx, room.room_nid, room.room_id, change.user_id, now_ts=now_ts, expires_ts=expires_ts
            )
        else:
            typing.stop(tx, room.room_nid, room.room_id, change.user_id, now_ts=now_ts)


def _change_in(origin: ServerName, content: object) -> _Change:
    found = read_as(TypingContent, content)
    return _Change(parse_room_id(found.room_id), user_of(origin, found.user_id), found.typing)
