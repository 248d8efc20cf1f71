"""When the devices or keys of users, here and elsewhere, last changed: for those who share rooms with them."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import and_, bindparam, exists, literal_column, or_, select
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import UserID
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.encryption import device_lists
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction

MOST_ROOMS: Final = 500
"""Whose members are woken by a change; others hear of it when they look."""

_l = device_lists.c
_mine = memberships.alias("mine").c
_theirs = memberships.alias("theirs").c
# As the partial index says it.
_IS_OURS = and_(_mine.is_local == literal_column("1"), _mine.membership == literal_column("'join'"))
ROOMS = statement(
    select(rooms.c.room_id)
    .select_from(memberships.join(rooms, rooms.c.room_nid == memberships.c.room_nid))
    .where(
        memberships.c.user_id == bindparam("user_id"),
        memberships.c.membership == "join",
        exists(select(literal_column("1")).where(_mine.room_nid == memberships.c.room_nid, _IS_OURS)),
    )
    .limit(MOST_ROOMS)
)
_new = insert(device_lists)
TELL = statement(
    _new.on_conflict_do_update(index_elements=["user_id"], set_={"position": _new.excluded.position}),
    [column.name for column in device_lists.columns],
)
CHANGED = statement(
    select(_l.user_id).where(
        _l.position > bindparam("after"),
        _l.position <= bindparam("upto"),
        or_(
            _l.user_id == bindparam("reader"),
            exists(
                select(literal_column("1")).where(
                    _theirs.user_id == _l.user_id,
                    _theirs.membership == "join",
                    _mine.room_nid == _theirs.room_nid,
                    _mine.user_id == bindparam("reader"),
                    _mine.membership == "join",
                )
            ),
        ),
    )
)
MOVED = statement(
    select(
        memberships.c.room_nid, memberships.c.user_id, memberships.c.membership, memberships.c.was_joined
    ).where(in_list(memberships.c.room_nid, "room_nids"), memberships.c.since_position > bindparam("after"))
)
JOINED = statement(
    select(memberships.c.user_id)
    .where(in_list(memberships.c.room_nid, "room_nids"), memberships.c.membership == "join")
    .distinct()
)
AMONG_JOINED = statement(
    select(memberships.c.user_id)
    .where(
        in_list(memberships.c.user_id, "user_ids"),
        memberships.c.membership == "join",
        in_list(memberships.c.room_nid, "room_nids"),
    )
    .distinct()
)


def tell(tx: WriteTransaction, user_id: UserID) -> None:
    """The user's devices or keys have changed: the user is told, and so are those here who share rooms."""
    topics = [room_topic(row[0]) for row in tx.all(ROOMS, user_id=user_id)]
    tx.publish(TELL, kind=Kind.DEVICE_LISTS, to=[user_topic(user_id), *topics], user_id=user_id)


def changed(tx: ReadTransaction, reader: UserID, *, after: int, upto: int) -> set[UserID]:
    """Who is in a room with `reader`, or is `reader`, and has changed last at `after < position <= upto`."""
    return {row[0] for row in tx.all(CHANGED, reader=reader, after=after, upto=upto)}


def moved(
    tx: ReadTransaction, room_nids: Collection[int], *, after: int
) -> list[tuple[int, UserID, str, bool]]:
    """Whose membership in these rooms is another one since after a position.

    Each with the room, what it is now, and whether the user has ever been joined.
    """
    rows = tx.all(MOVED, room_nids=sorted(room_nids), after=after)
    return [
        (room_nid, user_id, membership, bool(was_joined))
        for room_nid, user_id, membership, was_joined in rows
    ]


def joined(tx: ReadTransaction, room_nids: Collection[int]) -> set[UserID]:
    """Who is in any of these rooms."""
    return {row[0] for row in tx.all(JOINED, room_nids=sorted(room_nids))}


def among_joined(
    tx: ReadTransaction, room_nids: Collection[int], user_ids: Collection[UserID]
) -> set[UserID]:
    """Those of the users who are in any of these rooms."""
    rows = tx.all(AMONG_JOINED, room_nids=sorted(room_nids), user_ids=sorted(user_ids))
    return {row[0] for row in rows}
