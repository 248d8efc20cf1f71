"""Where a room's history, as far as this server has it, begins: events that are missing there, and positions.

Fetched history has negative positions, descending as it goes further back.
"""

import attrs
from sqlalchemy import bindparam, func, select

from homeserver.core.identifiers import EventID
from homeserver.database.statements import statement
from homeserver.database.tables.events import backward_extremities, events
from homeserver.database.transactions import ReadTransaction

_b = backward_extremities.c
_e = events.c
CREATE = "m.room.create"
MOST = 200

MISSING = statement(
    select(_b.event_id, _e.event_id, _e.position, _e.depth)
    .select_from(backward_extremities.join(events, _e.event_nid == _b.child_nid))
    .where(_b.room_nid == bindparam("room_nid"), _e.position.is_not(None))
    .order_by(_e.position, _b.event_id)
    .limit(MOST)
)
FIRST = statement(
    select(func.min(_e.position)).where(_e.room_nid == bindparam("room_nid"), _e.position.is_not(None))
)
HAS_BEGINNING = statement(
    select(_e.event_nid)
    .where(_e.room_nid == bindparam("room_nid"), _e.position == bindparam("first"), _e.type == CREATE)
    .limit(1)
)


@attrs.frozen(slots=True)
class MissingParent:
    """An event that this server lacks, and one of those that name it in their `prev_events`."""

    event_id: EventID
    child_id: EventID
    child_position: int
    child_depth: int


def first_position(tx: ReadTransaction, room_nid: int) -> int | None:
    """The lowest position of the room's events; `None` if none has any."""
    position: int | None = tx.value(FIRST, room_nid=room_nid)
    return position


def missing_parents(tx: ReadTransaction, room_nid: int) -> list[MissingParent]:
    """What is missing of the room's history, what precedes its beginning first; up to `MOST` of it.

    Nothing if the history begins with the room's create event: then all that is missing lies within.
    """
    found = [MissingParent(*row) for row in tx.all(MISSING, room_nid=room_nid)]
    first = first_position(tx, room_nid) if found else None
    if first is None or tx.one(HAS_BEGINNING, room_nid=room_nid, first=first) is not None:
        return []
    return found
