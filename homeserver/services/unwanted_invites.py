"""Invitations that their users are not shown.

Spec: client-server API, "Ignoring Users" and "Invite permission": such as ignored users have sent, and all of them
while a user blocks invitations. They are there again when that is over.
"""

from collections.abc import Collection, Iterable

from homeserver.core.identifiers import UserID
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms import invitations
from homeserver.storage.memberships import RoomOfUser


def unwanted(
    tx: ReadTransaction, user_id: UserID, rooms: Iterable[RoomOfUser], ignored: Collection[str]
) -> frozenset[int]:
    """The numbers of those of the user's rooms whose invitation is not to be shown; `ignored` are ignored users."""
    invited = [room for room in rooms if room.membership == "invite"]
    if invited and invitations.are_blocked(tx, user_id):
        return frozenset(room.room_nid for room in invited)
    return frozenset(room.room_nid for room in invited if room.sender in ignored)
