"""Rooms that users have left and never want to see again. Spec: client-server API, "Leaving rooms"."""

from homeserver.core.auth_events import member_of
from homeserver.core.errors import Unknown
from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import current_content
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.members import member_content
from homeserver.services.rooms_here import NotHereError, is_here
from homeserver.storage import memberships, room_purges, rooms

PURGE_DELAY_MS = 10 * 60 * 1000
"""From when nobody remembers a room to its removal: whoever reads the stream is past it by then."""


def forget(tx: WriteTransaction, user_id: UserID, room_id: RoomID, *, due_ts: int) -> None:
    """Forget a room that was left; it is removed at `due_ts` if that was the last user. Errors: Unknown."""
    room = rooms.lock(tx, room_id)
    if room is None:
        # Removed already, or never held: there is nothing to be seen of it.
        return
    mine = memberships.of(tx, room.room_nid, user_id)
    if mine is None or mine.membership not in ("leave", "ban"):
        raise Unknown("You have not left this room" if mine else "You have never been in this room")
    forget_all_the_same(tx, user_id, room.room_nid, room_id, due_ts=due_ts)


def depart(
    tx: WriteTransaction, signer: Signer, user_id: UserID, room_id: RoomID, *, now_ts: int, due_ts: int
) -> None:
    """Leave the room if need be, or reject its invite, and forget it. Errors: NotHereError."""
    if not is_here(tx, room_id, signer.server_name):
        raise NotHereError
    appender = Appender.lock(tx, room_id, signer, now_ts=now_ts)
    if current_content(appender, member_of(user_id)).get("membership") in ("join", "invite", "knock"):
        content = member_content(tx, user_id, "leave")
        appender.append(Draft(user_id, "m.room.member", content, state_key=user_id))
        appender.publish()
    forget_all_the_same(tx, user_id, appender.room.room_nid, room_id, due_ts=due_ts)


def forget_all_the_same(
    tx: WriteTransaction, user_id: UserID, room_nid: int, room_id: RoomID, *, due_ts: int
) -> None:
    """Forget the room, whatever the membership; it is removed at `due_ts` if that was the last user."""
    memberships.forget(tx, room_nid, user_id)
    if not memberships.is_remembered(tx, room_nid):
        room_purges.add(tx, room_nid, room_id, due_ts=due_ts)
