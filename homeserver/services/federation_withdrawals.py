"""Invitations that are withdrawn, and knocks that are turned down, of rooms that this server is not in.

Servers of the room tell so with the event.

Spec: server-server API, "Leaving Rooms (Rejecting Invites)" and "Inviting to a room".
"""

from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.out_of_band import OutOfBand, record
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.services.remote_memberships import likely_servers
from homeserver.storage import memberships, rooms


def withdraw(
    tx: WriteTransaction, room: rooms.Room, pdu: CheckedPdu, server_name: ServerName, *, now_ts: int
) -> bool:
    """Note that a user of this server is no longer invited, or waits in vain, if the event says so; whether it does.

    Whether somebody may do that cannot be told from here: of an invitation only the inviter is believed, of a knock
    the servers that are known to be in the room.
    """
    event = pdu.event
    if event.type != "m.room.member" or event.content.get("membership") not in ("leave", "ban"):
        return False
    user_id = UserID(event.state_key or "")
    if server_of(user_id) != server_name:
        return False
    member = memberships.of(tx, room.room_nid, user_id)
    if member is None or member.membership not in ("invite", "knock"):
        return False
    if member.membership == "invite" and member.sender != event.sender:
        return False
    if member.membership == "knock":
        known = likely_servers(tx, room.room_id, user_id)
        if server_of(event.sender) not in known:
            return False
    return record(tx, OutOfBand(event, pdu.data), server_name, now_ts=now_ts)
