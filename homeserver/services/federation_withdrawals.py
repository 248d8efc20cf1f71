"""Invitations that are withdrawn: the inviter's server tells so with the event, though this server is not in the room.

Spec: server-server API, "Leaving Rooms (Rejecting Invites)" and "Inviting to a room".
"""

from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.out_of_band import OutOfBand, record
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.storage import memberships, rooms


def withdraw(
    tx: WriteTransaction, room: rooms.Room, pdu: CheckedPdu, server_name: ServerName, *, now_ts: int
) -> bool:
    """Note that a user of this server is no longer invited, if the event says so; whether it does.

    Only the inviter is believed: whether anybody else may take the invitation back cannot be told from here.
    """
    event = pdu.event
    if event.type != "m.room.member" or event.content.get("membership") not in ("leave", "ban"):
        return False
    user_id = UserID(event.state_key or "")
    if server_of(user_id) != server_name:
        return False
    member = memberships.of(tx, room.room_nid, user_id)
    if member is None or member.membership != "invite" or member.sender != event.sender:
        return False
    return record(tx, OutOfBand(event, pdu.data), server_name, now_ts=now_ts)
