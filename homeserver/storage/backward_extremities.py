"""Events that this server lacks, though events of a room's history name them as their parents.

Each belongs to a gap of the history, see `history_gaps`, or has no place in it.
"""

from collections.abc import Collection

from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import EventID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.events import backward_extremities, events
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_b = backward_extremities.c
INSERT = insert_into(backward_extremities, ignore_conflict=True)
"""Takes `position` when it is published, with the event that the gap is right before."""
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
MOVE = statement(
    update(backward_extremities)
    .where(_b.room_nid == bindparam("the_room"), _b.position == bindparam("gap"))
    .values(position=bindparam("position"), places=bindparam("places"))
)


def rows(
    room_nid: int, child_nid: int, missing: Collection[EventID], *, places: int
) -> list[dict[str, object]]:
    """The event `child_nid` names these as parents, which are not there: parameters of `INSERT`, but for `position`."""
    return [
        {"room_nid": room_nid, "event_id": each, "child_nid": child_nid, "places": places}
        for each in sorted(missing)
    ]


def add(
    tx: WriteTransaction,
    room_nid: int,
    child_nid: int,
    missing: Collection[EventID],
    *,
    position: int,
    places: int,
) -> None:
    """The event `child_nid` names these as parents, which belong to the gap at `position`, of so many free places."""
    found = [{**row, "position": position} for row in rows(room_nid, child_nid, missing, places=places)]
    if found:
        tx.execute_many(INSERT, found)


def children(tx: ReadTransaction, room_nid: int, event_id: EventID) -> list[int]:
    """The statuses of the events that name a missing event as their parent."""
    return [row[0] for row in tx.all(CHILDREN, room_nid=room_nid, event_id=event_id)]


def move(tx: WriteTransaction, room_nid: int, gap: int, position: int | None, *, places: int) -> None:
    """What is missing of a gap belongs to the gap at `position` now, or has no place."""
    tx.execute(MOVE, the_room=room_nid, gap=gap, position=position, places=places)


def remove(tx: WriteTransaction, room_nid: int, event_id: EventID) -> None:
    """The event is there now."""
    tx.execute(DELETE, room_nid=room_nid, event_id=event_id)
