"""Rooms that this server can change by itself: those that it is in, and those that it was the last one in."""

from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.requester import Requester
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_changes import MembershipChanges
from homeserver.storage import room_servers, rooms


class NotHereError(Exception):
    """This server is not in the room, and cannot change it by itself."""


def lock_here(
    tx: WriteTransaction, signer: Signer, requester: Requester, room_id: RoomID, *, now_ts: int
) -> MembershipChanges:
    """Lock a room that this server can change by itself. Errors: NotHereError."""
    if not is_here(tx, room_id, signer.server_name):
        raise NotHereError
    return MembershipChanges.lock(tx, signer, requester, room_id, now_ts=now_ts)


def is_here(tx: ReadTransaction, room_id: RoomID, server_name: ServerName) -> bool:
    """Whether this server, `server_name`, is in the room, or was the last one there."""
    room = rooms.of(tx, room_id)
    if room is None or not room.is_held:
        return False
    return room.joined_members == 0 or room_servers.joined(tx, room.room_nid, server_name) > 0
