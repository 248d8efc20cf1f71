"""Read receipts: the last event that each user has read, per room, type and thread."""

from collections.abc import Collection

from sqlalchemy import and_, bindparam, desc, func, literal, or_, select, union_all
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.receipts import READ_PRIVATE, Receipt
from homeserver.core.threads import MAIN
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.ephemeral import receipts
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_r = receipts.c
_e = events.c
_m = memberships.c
_new = insert(receipts)
KEY = ["room_nid", "user_id", "receipt_type", "thread_id"]
MOVE = statement(
    _new.on_conflict_do_update(
        index_elements=KEY,
        set_={name: _new.excluded[name] for name in ("event_id", "event_position", "ts", "position")},
        # Of two requests at the same time the one that is further on wins, whichever is committed last.
        where=_r.event_position < _new.excluded.event_position,
    ),
    [column.name for column in receipts.columns],
)
EVENT_POSITION = statement(
    select(_r.event_position).where(
        _r.room_nid == bindparam("room_nid"),
        _r.user_id == bindparam("user_id"),
        _r.receipt_type == bindparam("receipt_type"),
        _r.thread_id == bindparam("thread_id"),
    )
)
SINCE = statement(
    select(_r.room_nid, _r.user_id, _r.receipt_type, _r.thread_id, _r.event_id, _r.ts)
    .where(
        in_list(_r.room_nid, "room_nids"),
        _r.position > bindparam("since"),
        _r.position <= bindparam("upto"),
        or_(_r.receipt_type != READ_PRIVATE, _r.user_id == bindparam("reader")),
    )
    .order_by(_r.position)
)
OF_EVENTS = statement(
    select(_r.room_nid, _r.user_id, _r.receipt_type, _r.thread_id, _r.event_id, _r.ts)
    .where(
        in_list(_r.room_nid, "room_nids"),
        _r.position <= bindparam("upto"),
        or_(
            _r.user_id == bindparam("reader"),
            and_(_r.receipt_type != READ_PRIVATE, in_list(_r.event_id, "event_ids")),
        ),
    )
    .order_by(_r.position)
)
MOVED = statement(
    select(_r.room_nid)
    .where(
        in_list(_r.room_nid, "room_nids"),
        _r.user_id == bindparam("user_id"),
        _r.position > bindparam("since"),
        _r.position <= bindparam("upto"),
    )
    .distinct()
)
# Not the maximum, for which PostgreSQL would go through all that the user has sent.
_last_sent = (
    select(_e.position)
    .where(
        _e.room_nid == _m.room_nid,
        _e.sender == bindparam("user_id"),
        # As the index on what users have sent says it.
        _e.thread_id.is_(None),
        _e.device_id.is_not(None),
        _e.position.is_not(None),
        # It says nothing of where its sender has read: what it redacts may be anywhere.
        _e.type != "m.room.redaction",
    )
    .order_by(desc(_e.position))
    .limit(1)
)
READ_UPTO = statement(
    union_all(
        select(_r.room_nid, _r.thread_id, func.max(_r.event_position))
        .where(in_list(_r.room_nid, "room_nids"), _r.user_id == bindparam("user_id"))
        .group_by(_r.room_nid, _r.thread_id),
        select(_m.room_nid, literal(MAIN), _last_sent.scalar_subquery()).where(
            in_list(_m.room_nid, "room_nids"), _m.user_id == bindparam("user_id")
        ),
    )
)


def move(
    tx: WriteTransaction, room_nid: int, room_id: RoomID, receipt: Receipt, *, event_position: int
) -> bool:
    """Move the receipt forward to its event; whether it was behind that.

    Who may see it is told: the room, or only its user if it is private.
    """
    current: int | None = tx.value(
        EVENT_POSITION,
        room_nid=room_nid,
        user_id=receipt.user_id,
        receipt_type=receipt.receipt_type,
        thread_id=receipt.thread_id,
    )
    if current is not None and current >= event_position:
        return False
    topic = user_topic(receipt.user_id) if receipt.receipt_type == READ_PRIVATE else room_topic(room_id)
    tx.publish(
        MOVE,
        kind=Kind.RECEIPTS,
        to=[topic],
        room_nid=room_nid,
        user_id=receipt.user_id,
        receipt_type=receipt.receipt_type,
        thread_id=receipt.thread_id,
        event_id=receipt.event_id,
        event_position=event_position,
        ts=receipt.ts,
    )
    return True


def since(
    tx: ReadTransaction, reader: UserID, room_nids: Collection[int], *, since: int, upto: int
) -> dict[int, list[Receipt]]:
    """The receipts with `since < position <= upto` that `reader` may see, by room, in their order."""
    found: dict[int, list[Receipt]] = {}
    for room_nid, *columns in tx.all(SINCE, room_nids=list(room_nids), since=since, upto=upto, reader=reader):
        found.setdefault(room_nid, []).append(Receipt(*columns))
    return found


def of_events(
    tx: ReadTransaction, reader: UserID, room_nids: Collection[int], event_ids: Collection[str], *, upto: int
) -> dict[int, list[Receipt]]:
    """The receipts of these rooms that are on one of the events, and all of the reader's own, by room."""
    found: dict[int, list[Receipt]] = {}
    rows = tx.all(OF_EVENTS, reader=reader, room_nids=list(room_nids), event_ids=list(event_ids), upto=upto)
    for room_nid, *columns in rows:
        found.setdefault(room_nid, []).append(Receipt(*columns))
    return found


def moved(
    tx: ReadTransaction, user_id: UserID, room_nids: Collection[int], *, since: int, upto: int
) -> set[int]:
    """Those of the rooms in which the user has read on with `since < position <= upto`."""
    rows = tx.all(MOVED, user_id=user_id, room_nids=list(room_nids), since=since, upto=upto)
    return {row[0] for row in rows}


def own(tx: ReadTransaction, user_id: UserID, room_nids: Collection[int]) -> dict[int, dict[str, int]]:
    """How far the user has read: per room, the event positions by thread (see `Receipt.thread_id`).

    The public and the private receipt count alike, and for the main timeline the last message event that the user has
    sent there: the furthest of them is given. Spec: client-server API, "Marking notifications as read".
    """
    found: dict[int, dict[str, int]] = {}
    for room_nid, thread_id, position in tx.all(READ_UPTO, user_id=user_id, room_nids=list(room_nids)):
        if position is not None:
            of_room = found.setdefault(room_nid, {})
            of_room[thread_id] = max(position, of_room.get(thread_id, position))
    return found
