"""Invitations that are withdrawn, and knocks that are turned down, of rooms that this server is not in.

Servers of the room tell so with the event. Whether its sender may do that cannot be told from here.

Spec: server-server API, "Leaving Rooms (Rejecting Invites)" and "Inviting to a room".
"""

import enum

from homeserver.core.event import Event
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.out_of_band import OutOfBand, record
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.services.remote_memberships import likely_servers
from homeserver.storage import memberships, rooms
from homeserver.storage.memberships import Membership


class Word(enum.Enum):
    """What an event of a room that this server is not in says of a user of this server, and how far that counts."""

    NOTHING = "nothing"
    """It does not say that one who is invited, or knocks, is so no longer; or who says so is not believed."""
    BELIEVED = "believed"
    DOUBTED = "doubted"
    """An invitation is said to be withdrawn; the server of the inviter, by whose word it stands, can tell."""


def weigh_word(tx: ReadTransaction, room: rooms.Room, event: Event, server_name: ServerName) -> Word:
    """What the event says of a user of this server, `server_name`.

    Of an invitation the inviter's server is believed, which might say all of it in the inviter's name, of a knock
    the servers that are known to be in the room.
    """
    if event.type != "m.room.member" or event.content.get("membership") not in ("leave", "ban"):
        return Word.NOTHING
    user_id = UserID(event.state_key or "")
    if server_of(user_id) != server_name:
        return Word.NOTHING
    member = memberships.of(tx, room.room_nid, user_id)
    if member is not None and member.membership == "invite":
        return _weigh_withdrawal(event, member)
    if member is not None and member.membership == "knock":
        known = likely_servers(tx, room.room_id, user_id)
        return Word.BELIEVED if server_of(event.sender) in known else Word.NOTHING
    return Word.NOTHING


def _weigh_withdrawal(event: Event, member: Membership) -> Word:
    if server_of(event.sender) == server_of(member.sender):
        return Word.BELIEVED
    # Who withdraws an invitation cites it: so much whoever is asked on account of it must know at least.
    return Word.DOUBTED if member.event_id in event.auth_events else Word.NOTHING


def withdraw(tx: WriteTransaction, pdu: CheckedPdu, server_name: ServerName, *, now_ts: int) -> bool:
    """Note that a user of this server is no longer invited, or waits in vain; False if there is no place for that."""
    return record(tx, OutOfBand(pdu.event, pdu.data), server_name, now_ts=now_ts)
