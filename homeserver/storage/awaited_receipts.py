"""Receipts of users of other servers whose events have not arrived yet."""

from sqlalchemy import ColumnElement, and_, bindparam, delete, desc, exists, func, select

from homeserver.core.identifiers import ServerName
from homeserver.core.receipts import Receipt
from homeserver.database.statements import Statement, statement, upsert
from homeserver.database.tables.ephemeral import awaited_receipts
from homeserver.database.tables.events import events
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_a = awaited_receipts.c
_RECEIPT = (_a.user_id, _a.receipt_type, _a.thread_id, _a.event_id, _a.ts)
PUT = upsert(awaited_receipts, key=["room_nid", "user_id", "thread_id"])
_has_come = and_(
    events.c.event_id == _a.event_id, events.c.room_nid == _a.room_nid, events.c.position.is_not(None)
)
_has_come_after = and_(_has_come, events.c.position > bindparam("after"))
NEWEST = statement(select(func.max(events.c.position)))
IS_ANY_DUE = statement(select(exists().where(_has_come)))
IS_ANY_DUE_AFTER = statement(select(exists().where(_has_come_after)))


def _due(which: ColumnElement[bool]) -> Statement:
    return statement(
        select(_a.room_nid, *_RECEIPT)
        .join_from(events, awaited_receipts, which)
        .order_by(_a.received_ts)
        .limit(bindparam("most"))
        .with_for_update(of=awaited_receipts, skip_locked=True)
    )


DUE = _due(_has_come)
DUE_AFTER = _due(_has_come_after)
DELETE = statement(
    delete(awaited_receipts).where(
        _a.room_nid == bindparam("room_nid"),
        _a.user_id == bindparam("user_id"),
        _a.thread_id == bindparam("thread_id"),
    )
)
OLDEST_TOO_MANY = statement(
    select(_a.received_ts)
    .where(_a.origin == bindparam("origin"))
    .order_by(desc(_a.received_ts))
    .offset(bindparam("most"))
    .limit(1)
)
DELETE_UPTO = statement(
    delete(awaited_receipts).where(_a.origin == bindparam("origin"), _a.received_ts <= bindparam("upto_ts"))
)
PRUNE = statement(delete(awaited_receipts).where(_a.received_ts < bindparam("before_ts")))


def put(
    tx: WriteTransaction, room_nid: int, receipt: Receipt, *, origin: ServerName, received_ts: int
) -> None:
    """Keep the receipt until its event comes; it replaces what the user's receipt for that thread waits for."""
    tx.execute(
        PUT,
        room_nid=room_nid,
        user_id=receipt.user_id,
        thread_id=receipt.thread_id,
        receipt_type=receipt.receipt_type,
        event_id=receipt.event_id,
        ts=receipt.ts,
        origin=origin,
        received_ts=received_ts,
    )


def newest(tx: ReadTransaction) -> int:
    """The position of the newest event."""
    position: int | None = tx.value(NEWEST)
    return position or 0


def is_any_due(tx: ReadTransaction, *, after: int | None = None) -> bool:
    """Whether an event has come that a receipt waits for: one after that position, if it is given.

    That costs what has come since, and else what waits.
    """
    if after is None:
        return bool(tx.value(IS_ANY_DUE))
    return bool(tx.value(IS_ANY_DUE_AFTER, after=after))


def take_due(tx: WriteTransaction, *, most: int, after: int | None = None) -> list[tuple[int, Receipt]]:
    """Remove up to `most` receipts whose events have come, and give them, each with the number of its room.

    With `after` only those whose events came after that position. Those that another process takes at the moment are
    left out.
    """
    rows = tx.all(DUE, most=most) if after is None else tx.all(DUE_AFTER, most=most, after=after)
    due = [(row[0], Receipt(*row[1:])) for row in rows]
    for room_nid, receipt in due:
        tx.execute(DELETE, room_nid=room_nid, user_id=receipt.user_id, thread_id=receipt.thread_id)
    return due


def keep_newest(tx: WriteTransaction, origin: ServerName, *, most: int) -> None:
    """Forget the oldest receipts of a server if more than `most` wait; those of one moment leave together."""
    upto_ts: int | None = tx.value(OLDEST_TOO_MANY, origin=origin, most=most)
    if upto_ts is not None:
        tx.execute(DELETE_UPTO, origin=origin, upto_ts=upto_ts)


def prune(tx: WriteTransaction, *, before_ts: int) -> int:
    """Forget those that came before that moment; gives how many."""
    return tx.execute(PRUNE, before_ts=before_ts)
