"""Rooms to be removed from this server: which ones, and all rows that a room has left behind."""

import msgspec
from sqlalchemy import Table, bindparam, delete, select, tuple_, update

from homeserver.core.identifiers import RoomID
from homeserver.database.statements import Statement, claim_due, in_list, insert_into, statement
from homeserver.database.tables.account_data import account_data
from homeserver.database.tables.ephemeral import awaited_receipts, receipts, typing
from homeserver.database.tables.events import auth_edges, backward_extremities, events, pending_redactions
from homeserver.database.tables.notifications import push_outcomes
from homeserver.database.tables.relations import relations, threads
from homeserver.database.tables.rooms import (
    aliases,
    memberships,
    partial_joins,
    room_purges,
    room_servers,
    rooms,
    stripped_states,
)
from homeserver.database.tables.search import search_texts
from homeserver.database.tables.state import room_states, state_nodes
from homeserver.database.tables.sticky_events import sticky_events
from homeserver.database.tables.thread_subscriptions import thread_subscriptions
from homeserver.database.tables.user_directory import directory_rooms
from homeserver.database.transactions import WriteTransaction

MEMBERS_AT_ONCE = 20
"""Users of this server whose own rows about the room are removed in one transaction."""


class RoomPurge(msgspec.Struct, frozen=True):
    """A room that is being removed; its row in `rooms` may be gone already."""

    room_nid: int
    room_id: RoomID


def _some(table: Table, *key: str) -> Statement:
    """Removes up to `most` rows of a room; `key` tells the rows of one room apart."""
    columns = [table.c[name] for name in key]
    in_room = table.c.room_nid == bindparam("room_nid")
    some = select(*columns).where(in_room).limit(bindparam("most"))
    return statement(delete(table).where(in_room, tuple_(*columns).in_(some)))


_p = room_purges.c
_m = memberships.c
ADD = insert_into(room_purges, ignore_conflict=True)
CLAIM = claim_due(room_purges, _p.room_nid, _p.room_nid, _p.room_id)
KEEP = statement(
    update(room_purges).where(_p.room_nid == bindparam("the_room")).values(due_ts=bindparam("until_ts"))
)
REMOVE = statement(delete(room_purges).where(_p.room_nid == bindparam("room_nid")))
CLOSE = (
    statement(delete(rooms).where(rooms.c.room_nid == bindparam("room_nid"))),
    statement(delete(aliases).where(aliases.c.room_id == bindparam("room_id"))),
)
SOME_LOCAL_MEMBERS = statement(
    select(_m.user_id).where(_m.room_nid == bindparam("room_nid"), _m.is_local == 1).limit(bindparam("most"))
)
# Of tables that are sorted by user: the rows about the room are found through its members.
OF_MEMBERS = (
    statement(
        delete(push_outcomes).where(
            push_outcomes.c.room_nid == bindparam("room_nid"),
            in_list(push_outcomes.c.user_id, "user_ids"),
        )
    ),
    statement(
        delete(account_data).where(
            account_data.c.room_id == bindparam("room_id"),
            in_list(account_data.c.user_id, "user_ids"),
        )
    ),
    statement(
        delete(memberships).where(_m.room_nid == bindparam("room_nid"), in_list(_m.user_id, "user_ids"))
    ),
)
PARTS = (
    _some(memberships, "user_id"),
    _some(receipts, "user_id", "receipt_type", "thread_id"),
    _some(awaited_receipts, "user_id", "thread_id"),
    _some(typing, "user_id"),
    _some(room_states, "position"),
    _some(room_servers, "server_name"),
    _some(partial_joins, "join_nid"),
    _some(stripped_states, "user_id"),
    _some(backward_extremities, "event_id", "child_nid"),
    _some(pending_redactions, "event_id", "redaction_nid"),
    _some(auth_edges, "auth_nid", "event_nid"),
    _some(relations, "parent_id", "rel_type", "position"),
    _some(threads, "root_id"),
    _some(thread_subscriptions, "user_id", "root_id"),
    _some(sticky_events, "event_nid"),
    _some(events, "event_nid"),
    _some(search_texts, "event_nid"),
    _some(directory_rooms, "room_nid"),
    _some(state_nodes, "node_nid"),
)


def add(tx: WriteTransaction, room_nid: int, room_id: RoomID, *, due_ts: int) -> None:
    """Have the room removed from `due_ts` on, unless that has been asked for already."""
    tx.execute(ADD, room_nid=room_nid, room_id=room_id, due_ts=due_ts)


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> RoomPurge | None:
    """A room that is due, `None` if there is none; no other process gets it before `until_ts`."""
    rows = tx.returning(CLAIM, now_ts=now_ts, until_ts=until_ts)
    return RoomPurge(*rows[0]) if rows else None


def forget(tx: WriteTransaction, purge: RoomPurge) -> None:
    """The room is all gone, or is to stay."""
    tx.execute(REMOVE, room_nid=purge.room_nid)


def close(tx: WriteTransaction, purge: RoomPurge) -> None:
    """Remove what leads to the room: from now on this server does not hold it."""
    for query in CLOSE:
        tx.execute(query, room_nid=purge.room_nid, room_id=purge.room_id)


def remove_some(tx: WriteTransaction, purge: RoomPurge, *, most: int, until_ts: int) -> bool:
    """Remove about `most` rows of a closed room; `False` if there are none left.

    No other process takes over before `until_ts`.
    """
    tx.execute(KEEP, the_room=purge.room_nid, until_ts=until_ts)
    if _remove_members(tx, purge):
        return True
    return any(tx.execute(part, room_nid=purge.room_nid, most=most) for part in PARTS)


def _remove_members(tx: WriteTransaction, purge: RoomPurge) -> bool:
    users = [row[0] for row in tx.all(SOME_LOCAL_MEMBERS, room_nid=purge.room_nid, most=MEMBERS_AT_ONCE)]
    for query in OF_MEMBERS if users else ():
        tx.execute(query, room_nid=purge.room_nid, room_id=purge.room_id, user_ids=users)
    return bool(users)
