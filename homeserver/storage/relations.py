"""Which events relate to which. Children are found by their parents, whether these are here or not."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import msgspec
from sqlalchemy import bindparam, delete, desc, func, or_, select, true, update

from homeserver.core.identifiers import EventID, UserID
from homeserver.core.relations import ANNOTATION, REFERENCE, REPLACE, THREAD
from homeserver.database.statements import Statement, bytewise, in_list, insert_into, statement
from homeserver.database.tables.events import events
from homeserver.database.tables.relations import relations
from homeserver.database.transactions import ReadTransaction, WriteTransaction

BITS: Final[Mapping[str, int]] = {REPLACE: 1, THREAD: 2, REFERENCE: 4}
"""In an event's `aggregates`, by relation type: what is shown with it."""

Order = Literal["newest first", "oldest first"]


class Child(msgspec.Struct, frozen=True):
    """An event that relates to another, the parent; times are milliseconds."""

    room_nid: int
    parent_id: EventID
    rel_type: str
    position: int
    event_id: EventID
    type: str
    sender: UserID
    origin_server_ts: int
    is_sound: int
    annotation_key: bytes | None


_r = relations.c
_e = events.c
_COLUMNS = tuple(relations.columns)
INSERT = insert_into(relations)
"""Takes `position` when it is published, with the child."""
MARK = statement(
    update(events)
    .where(
        _e.event_id == bindparam("parent_id"),
        _e.room_nid == bindparam("the_room"),
        _e.aggregates.bitwise_and(bindparam("bit")) == 0,
    )
    .values(aggregates=_e.aggregates.bitwise_or(bindparam("bit")))
)
"""The parent, if it is there, is one of those with which something of its children is shown."""
REL_TYPES_BY_PARENT = statement(
    select(_r.parent_id, _r.rel_type)
    .where(
        _r.room_nid == bindparam("room_nid"),
        in_list(_r.parent_id, "event_ids"),
        or_(*(_r.rel_type == rel_type for rel_type in BITS)),
    )
    .distinct()
)
REMOVE = statement(
    delete(relations).where(
        _r.room_nid == bindparam("the_room"),
        _r.parent_id == bindparam("parent_id"),
        _r.rel_type == bindparam("rel_type"),
        _r.position == select(_e.position).where(_e.event_nid == bindparam("event_nid")).scalar_subquery(),
    )
)
# So that no database reads all children in their order, where those of a sender are wanted.
_up_to_newest = _r.position + 0 <= bindparam("newest")
_edits = (
    _r.room_nid == bindparam("room_nid"),
    _r.rel_type == REPLACE,
    _r.is_sound == 1,
    _up_to_newest,
)
_latest_first = (desc(_r.origin_server_ts), desc(bytewise(_r.event_id)))
LATEST_EDITS = statement(
    select(
        _e.event_id,
        select(_r.event_id)
        .where(*_edits, _r.parent_id == _e.event_id, _r.sender == _e.sender, _r.type == _e.type)
        .order_by(*_latest_first)
        .limit(1)
        .scalar_subquery(),
    ).where(in_list(_e.event_nid, "event_nids"))
)
EDITS = statement(
    select(_r.event_id)
    .where(
        *_edits,
        _r.parent_id == bindparam("parent_id"),
        _r.sender == bindparam("sender"),
        _r.type == bindparam("type"),
    )
    .order_by(*_latest_first)
    .limit(bindparam("most"))
)
ANNOTATED = statement(
    select(_r.position)
    .where(
        _r.room_nid == bindparam("room_nid"),
        _r.parent_id == bindparam("parent_id"),
        _r.sender == bindparam("sender"),
        _r.rel_type == ANNOTATION,
        _r.type == bindparam("type"),
        _r.annotation_key == bindparam("annotation_key"),
    )
    # As the index on senders has it: there are few of one sender, and perhaps many of all.
    .order_by(_r.origin_server_ts)
    .limit(1)
)


def _page(order: Order, *, by_rel_type: bool, by_type: bool) -> Statement:
    return statement(
        select(*_COLUMNS)
        .where(
            _r.room_nid == bindparam("room_nid"),
            _r.parent_id == bindparam("parent_id"),
            _r.rel_type == bindparam("rel_type") if by_rel_type else true(),
            _r.type == bindparam("type") if by_type else true(),
            _r.position > bindparam("after"),
            _r.position <= bindparam("newest"),
        )
        .order_by(desc(_r.position) if order == "newest first" else _r.position)
        .limit(bindparam("most"))
    )


_ORDERS: Final[tuple[Order, ...]] = ("newest first", "oldest first")
PAGES: Final = {
    (order, by_rel_type, by_type): _page(order, by_rel_type=by_rel_type, by_type=by_type)
    for order in _ORDERS
    for by_rel_type in (False, True)
    for by_type in (False, True)
}
OF_PARENTS = statement(
    select(*_COLUMNS)
    .where(
        _r.room_nid == bindparam("room_nid"),
        in_list(_r.parent_id, "parent_ids"),
        _r.position <= bindparam("newest"),
    )
    .limit(bindparam("most"))
)


def _related(*, by_rel_type: bool, by_sender: bool) -> Statement:
    return statement(
        select(_e.event_id).where(
            in_list(_e.event_nid, "event_nids"),
            select(_r.position)
            .where(
                _r.room_nid == _e.room_nid,
                _r.parent_id == _e.event_id,
                _up_to_newest,
                in_list(_r.rel_type, "rel_types") if by_rel_type else true(),
                in_list(_r.sender, "senders") if by_sender else true(),
            )
            .exists(),
        )
    )


RELATED: Final = {
    (by_rel_type, by_sender): _related(by_rel_type=by_rel_type, by_sender=by_sender)
    for by_rel_type in (False, True)
    for by_sender in (False, True)
}
COUNT_OF_SENDERS = statement(
    select(func.count()).where(
        _r.room_nid == bindparam("room_nid"),
        _r.parent_id == bindparam("parent_id"),
        _r.rel_type == bindparam("rel_type"),
        in_list(_r.sender, "senders"),
    )
)


def bits_of(tx: ReadTransaction, room_nid: int, event_ids: Collection[str]) -> dict[EventID, int]:
    """The `aggregates` of events that are about to be stored: what relates to them has come before them."""
    bits: dict[EventID, int] = {}
    for parent_id, rel_type in tx.all(REL_TYPES_BY_PARENT, room_nid=room_nid, event_ids=sorted(event_ids)):
        bits[parent_id] = bits.get(parent_id, 0) | BITS[rel_type]
    return bits


def set_bits(tx: WriteTransaction, room_nid: int, event_id: EventID, bits: int) -> None:
    """As what `bits_of` has found, for an event that is stored already."""
    for bit in BITS.values():
        if bits & bit:
            tx.execute(MARK, the_room=room_nid, parent_id=event_id, bit=bit)


def remove(tx: WriteTransaction, room_nid: int, event_nid: int, *, parent_id: EventID, rel_type: str) -> bool:
    """The event relates to nothing any more; whether it has."""
    return bool(
        tx.execute(REMOVE, the_room=room_nid, parent_id=parent_id, rel_type=rel_type, event_nid=event_nid)
    )


def latest_edits(
    tx: ReadTransaction, room_nid: int, event_nids: Collection[int], *, newest: int
) -> dict[EventID, EventID]:
    """The most recent edit of each of the events that has any, by the event's ID.

    Only what makes an edit invalid in the event itself, such as being an edit, is left to the caller.
    """
    rows = tx.all(LATEST_EDITS, room_nid=room_nid, event_nids=sorted(event_nids), newest=newest)
    return {row[0]: row[1] for row in rows if row[1] is not None}


def edits(
    tx: ReadTransaction,
    room_nid: int,
    parent_id: EventID,
    *,
    sender: UserID,
    type: str,
    newest: int,
    most: int,
) -> list[EventID]:
    """The most recent edits by this sender and of this type, the most recent one first."""
    rows = tx.all(
        EDITS, room_nid=room_nid, parent_id=parent_id, sender=sender, type=type, newest=newest, most=most
    )
    return [row[0] for row in rows]


def is_annotated(
    tx: ReadTransaction,
    room_nid: int,
    parent_id: EventID,
    *,
    sender: UserID,
    type: str,
    annotation_key: bytes,
) -> bool:
    """Whether the sender has annotated the event with an event of this type and key."""
    row = tx.one(
        ANNOTATED,
        room_nid=room_nid,
        parent_id=parent_id,
        sender=sender,
        type=type,
        annotation_key=annotation_key,
    )
    return row is not None


def page(
    tx: ReadTransaction,
    room_nid: int,
    parent_id: EventID,
    *,
    rel_type: str | None = None,
    type: str | None = None,
    after: int,
    newest: int,
    most: int,
    order: Order,
) -> list[Child]:
    """Up to `most` children with `after < position <= newest`; `None` stands for any relation or event type."""
    params: dict[str, object] = {"room_nid": room_nid, "parent_id": parent_id}
    params |= {"after": after, "newest": newest, "most": most}
    if rel_type is not None:
        params["rel_type"] = rel_type
    if type is not None:
        params["type"] = type
    query = PAGES[order, rel_type is not None, type is not None]
    return [Child(*row) for row in tx.all(query, **params)]


def of_parents(
    tx: ReadTransaction, room_nid: int, parent_ids: Iterable[EventID], *, newest: int, most: int
) -> list[Child]:
    """Up to `most` children of these events, in no particular order."""
    rows = tx.all(OF_PARENTS, room_nid=room_nid, parent_ids=list(parent_ids), newest=newest, most=most)
    return [Child(*row) for row in rows]


def related(
    tx: ReadTransaction,
    event_nids: Collection[int],
    *,
    rel_types: Collection[str] | None,
    senders: Collection[str] | None,
    newest: int,
) -> set[EventID]:
    """Those of the events to which one of these senders has related another by one of these types; `None`: any."""
    params: dict[str, object] = {"event_nids": list(event_nids), "newest": newest}
    if rel_types is not None:
        params["rel_types"] = list(rel_types)
    if senders is not None:
        params["senders"] = list(senders)
    rows = tx.all(RELATED[rel_types is not None, senders is not None], **params)
    return {row[0] for row in rows}


def count_of_senders(
    tx: ReadTransaction, room_nid: int, parent_id: EventID, rel_type: str, senders: Collection[str]
) -> int:
    """How many of an event's children are of these senders."""
    count: int = tx.value(
        COUNT_OF_SENDERS, room_nid=room_nid, parent_id=parent_id, rel_type=rel_type, senders=list(senders)
    )
    return count
