"""Whom a room without a name is called by. Spec: client-server API, `m.heroes` of a `RoomSummary`."""

from homeserver.core.identifiers import UserID
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import memberships

_MOST = 5


def heroes_of(tx: ReadTransaction, room_nid: int, user_id: UserID) -> list[str]:
    """Up to five members other than the user, the longest-standing first: joined and invited, else former ones."""
    found: list[str] = []
    for group in (("join", "invite"), ("leave", "ban")):
        for membership in group:
            users = memberships.users(tx, room_nid, membership, most=_MOST + 1)
            found += (each for each in users if each != user_id)
        if found:
            break
    return found[:_MOST]
