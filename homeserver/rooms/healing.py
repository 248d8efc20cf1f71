"""Healing rooms with many forward extremities: an event that nobody sees ties them together.

Each event of this server names up to 20 extremities, so a room in which its users speak heals by itself. Where they do
not, whoever processes the room's events makes such an event: at once, and not by a search through all rooms.
"""

from typing import Final

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomID
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.persist import DUMMY, MOST_EXTREMITIES
from homeserver.storage import events, memberships, room_servers, rooms

CANDIDATES: Final = 20
"""Members who are tried as senders."""


def heal(tx: WriteTransaction, room_id: RoomID, signer: Signer, *, now_ts: int) -> bool:
    """Tie the room's extremities together, if there are many; whether that was done."""
    room = rooms.lock(tx, room_id)
    if room is None or len(room.extremities) <= MOST_EXTREMITIES:
        return False
    if not room_servers.joined(tx, room.room_nid, signer.server_name):
        return False
    appender = Appender(tx, room, signer, now_ts=now_ts)
    for user_id in memberships.some_local(tx, room.room_nid, most=CANDIDATES):
        try:
            appender.append(Draft(user_id, DUMMY, {}), status=events.HIDDEN)
        except Forbidden:
            # That one may not; perhaps another may.
            continue
        appender.publish()
        return True
    return False
