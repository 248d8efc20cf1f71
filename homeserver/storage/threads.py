"""The threads of rooms: how much there is in each, and where it ends. They are made of `relations`."""

from collections.abc import Collection
from typing import Any

import attrs
from sqlalchemy import ColumnElement, FromClause, bindparam, case, delete, desc, func, not_, select, update
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import EventID, UserID
from homeserver.core.relations import THREAD
from homeserver.database.statements import Statement, in_list, statement
from homeserver.database.tables.relations import relations, threads
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction


@attrs.frozen(slots=True)
class Thread:
    """A thread: how many events are in it, where the first and the last stand, and which these are.

    `has_user` tells whether the user who was asked for has sent one of them.
    """

    root_id: EventID
    replies: int
    first_position: int
    last_position: int
    first_id: EventID
    last_id: EventID
    has_user: bool = attrs.field(kw_only=True)


_t = threads.c
_r = relations.c
_in_thread = (_r.room_nid == _t.room_nid, _r.parent_id == _t.root_id, _r.rel_type == THREAD)


_row = insert(threads).values(
    room_nid=bindparam("room_nid"),
    root_id=bindparam("root_id"),
    replies=1,
    first_position=bindparam("position"),
    last_position=bindparam("position"),
)
_new = _row.excluded.last_position
ADD = statement(
    _row.on_conflict_do_update(
        index_elements=["room_nid", "root_id"],
        set_={
            "replies": _t.replies + 1,
            "first_position": case((_new < _t.first_position, _new), else_=_t.first_position),
            "last_position": case((_new > _t.last_position, _new), else_=_t.last_position),
        },
    )
)
"""One more event in a thread, which may be its first; takes `position` when it is published."""
SHRINK = statement(
    update(threads)
    .where(_t.room_nid == bindparam("the_room"), _t.root_id == bindparam("the_root"), _t.replies > 1)
    .values(
        replies=_t.replies - 1,
        first_position=select(func.min(_r.position)).where(*_in_thread).scalar_subquery(),
        last_position=select(func.max(_r.position)).where(*_in_thread).scalar_subquery(),
    )
)
END = statement(
    delete(threads).where(_t.room_nid == bindparam("room_nid"), _t.root_id == bindparam("root_id"))
)


def _columns(table: FromClause) -> tuple[ColumnElement[Any], ...]:
    """What there is to know of a thread, of `threads` or what stands for it."""
    t = table.c
    in_thread = (_r.room_nid == t.room_nid, _r.parent_id == t.root_id, _r.rel_type == THREAD)
    id_at = (
        select(_r.event_id).where(*in_thread, _r.position == position).scalar_subquery()
        for position in (t.first_position, t.last_position)
    )
    has_user = select(_r.position).where(*in_thread, _r.sender == bindparam("user_id")).exists()
    return t.root_id, t.replies, t.first_position, t.last_position, *id_at, case((has_user, 1), else_=0)


def _page(table: FromClause) -> Statement:
    t = table.c
    return statement(
        select(*_columns(table))
        .where(t.room_nid == bindparam("room_nid"), t.last_position <= bindparam("newest"))
        .order_by(desc(t.last_position), t.root_id)
        .limit(bindparam("most"))
    )


OF = statement(
    select(*_columns(threads)).where(_t.room_nid == bindparam("room_nid"), in_list(_t.root_id, "root_ids"))
)
PAGE = _page(threads)
_last_heard = select(func.max(_r.position)).where(*_in_thread, not_(in_list(_r.sender, "ignored")))
PAGE_HEARD = _page(
    select(
        _t.room_nid,
        _t.root_id,
        _t.replies,
        _t.first_position,
        _last_heard.scalar_subquery().label("last_position"),
    ).subquery("heard")
)
"""For those who ignore somebody. Looks at the end of every thread of the room."""


def shrink(tx: WriteTransaction, room_nid: int, root_id: EventID) -> None:
    """One of the thread's events has been removed from `relations`."""
    if not tx.execute(SHRINK, the_room=room_nid, the_root=root_id):
        tx.execute(END, room_nid=room_nid, root_id=root_id)


def of(
    tx: ReadTransaction, room_nid: int, root_ids: Collection[EventID], user_id: UserID
) -> dict[EventID, Thread]:
    """The threads of those of the events that are roots."""
    rows = tx.all(OF, room_nid=room_nid, root_ids=sorted(root_ids), user_id=user_id)
    return {row[0]: _thread(row) for row in rows}


def page(
    tx: ReadTransaction,
    room_nid: int,
    user_id: UserID,
    *,
    newest: int,
    most: int,
    ignored: Collection[str] = (),
) -> list[Thread]:
    """Up to `most` threads that end at `newest` or before, the one that ends last first.

    They end with the last event that is not of the users `ignored`; where there is none, there is no thread.
    """
    parameters = {"room_nid": room_nid, "user_id": user_id, "newest": newest, "most": most}
    rows = tx.all(PAGE_HEARD, **parameters, ignored=list(ignored)) if ignored else tx.all(PAGE, **parameters)
    return [_thread(row) for row in rows]


def _thread(row: Row) -> Thread:
    return Thread(*row[:-1], has_user=bool(row[-1]))
