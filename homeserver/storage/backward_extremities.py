"""Events that this server lacks, though events of a room's history name them as their parents."""

from collections.abc import Collection

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import EventID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.events import backward_extremities, events
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_b = backward_extremities.c
INSERT = insert_into(backward_extremities, ignore_conflict=True)
CHILDREN = statement(
    select(events.c.status)
    .select_from(backward_extremities.join(events, events.c.event_nid == _b.child_nid))
    .where(_b.room_nid == bindparam("room_nid"), _b.event_id == bindparam("event_id"))
)
DELETE = statement(
    delete(backward_extremities).where(
        _b.room_nid == bindparam("room_nid"), _b.event_id == bindparam("event_id")
    )
)


def add(tx: WriteTransaction, room_nid: int, child_nid: int, missing: Collection[EventID]) -> None:
    """The event `child_nid` names these as parents, which are not there."""
    rows = [{"room_nid": room_nid, "event_id": each, "child_nid": child_nid} for each in sorted(missing)]
    if rows:
        tx.execute_many(INSERT, rows)


def children(tx: ReadTransaction, room_nid: int, event_id: EventID) -> list[int]:
    """The statuses of the events that name a missing event as their parent."""
    return [row[0] for row in tx.all(CHILDREN, room_nid=room_nid, event_id=event_id)]


def remove(tx: WriteTransaction, room_nid: int, event_id: EventID) -> None:
    """The event is there now."""
    tx.execute(DELETE, room_nid=room_nid, event_id=event_id)
