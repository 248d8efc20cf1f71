"""The users of one server in a room, now and in earlier states of it."""

from collections.abc import Collection

from sqlalchemy import bindparam, func, select

from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships
from homeserver.database.transactions import ReadTransaction

ACCEPTED = 0

_m = memberships.c
_e = events.c
USERS = statement(
    select(_m.user_id, _m.membership)
    .where(_m.room_nid == bindparam("room_nid"), _m.user_id.like(bindparam("ending"), escape="\\"))
    .order_by(_m.user_id)
)
MEMBERSHIPS = statement(select(_e.event_nid, _e.membership).where(in_list(_e.event_nid, "event_nids")))
LAST_JOIN = statement(
    select(func.max(_e.position)).where(
        _e.room_nid == bindparam("room_nid"),
        in_list(_e.state_key, "user_ids"),
        # As the index on membership events says it.
        _e.membership.is_not(None),
        _e.membership == "join",
        _e.position.is_not(None),
        _e.status == ACCEPTED,
    )
)


def users_of(tx: ReadTransaction, room_nid: int, server_name: ServerName) -> dict[UserID, str]:
    """The users of the server whom the room's state names, each with the present membership."""
    escaped = server_name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = tx.all(USERS, room_nid=room_nid, ending=f"%:{escaped}")
    # SQLite's LIKE takes upper and lower case for the same.
    return {row[0]: row[1] for row in rows if server_of(row[0]) == server_name}


def has_invited(tx: ReadTransaction, room_nid: int, server_name: ServerName) -> bool:
    """Whether a user of the server is invited to the room."""
    return "invite" in users_of(tx, room_nid, server_name).values()


def memberships_set_by(tx: ReadTransaction, event_nids: Collection[int]) -> dict[int, str]:
    """What each of these membership events sets; others are left out."""
    return {
        row[0]: row[1] for row in tx.all(MEMBERSHIPS, event_nids=sorted(event_nids)) if row[1] is not None
    }


def last_join(tx: ReadTransaction, room_nid: int, user_ids: Collection[UserID]) -> int | None:
    """Where the last join of any of these users stands in the room's timeline; `None` if there is none."""
    position: int | None = tx.value(LAST_JOIN, room_nid=room_nid, user_ids=sorted(user_ids))
    return position
