"""What a server holds of a room, read from its database, in a form that can be compared between servers."""

from collections.abc import Mapping

import attrs
from sqlalchemy import bindparam, func, select

from homeserver.core.identifiers import RoomID
from homeserver.database.statements import statement
from homeserver.database.tables.events import events
from homeserver.database.tables.federation import incoming_pdus
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events as stored_events
from homeserver.storage import rooms, state

EVENTS = statement(
    select(
        events.c.event_id,
        events.c.status,
        events.c.position,
        events.c.redacted_by,
        events.c.type,
        events.c.sender,
        events.c.is_outbound,
    ).where(events.c.room_nid == bindparam("room_nid"))
)
UNDONE = statement(select(func.count()).select_from(incoming_pdus))


@attrs.frozen
class RoomContents:
    """A room on one server; identifiers only, so that two can be compared."""

    statuses: Mapping[str, int]
    """Of each event that is more than a part of an auth chain."""
    positions: Mapping[str, int]
    """Of the events that were announced to clients, so not of history that was fetched later."""
    redacted: frozenset[str]
    stories: Mapping[str, str]
    """What each event is, for whoever has to find out why it is not everywhere."""
    state: Mapping[tuple[str, str], str]
    """The current state: event by key."""
    extremities: frozenset[str]

    @property
    def known(self) -> frozenset[str]:
        """The events that others will hear of, as part of the graph: all but soft-failed ones."""
        return frozenset(
            event_id for event_id, status in self.statuses.items() if status != stored_events.SOFT_FAILED
        )

    @property
    def accepted(self) -> frozenset[str]:
        """The events that clients may see."""
        return frozenset(
            event_id for event_id, status in self.statuses.items() if status == stored_events.ACCEPTED
        )


def room_contents(tx: ReadTransaction, room_id: str) -> RoomContents | None:
    """What the server holds of a room; `None` if it does not know it."""
    room = rooms.of(tx, RoomID(room_id))
    if room is None:
        return None
    rows = tx.all(EVENTS, room_nid=room.room_nid)
    known = [row for row in rows if row[1] != stored_events.OUTLIER]
    whole = state.whole(tx, room.state_root)
    ids = stored_events.ids_of(tx, whole.values())
    return RoomContents(
        {row[0]: row[1] for row in known},
        {row[0]: row[2] for row in known if row[2] is not None and row[2] > 0},
        frozenset(row[0] for row in known if row[3] is not None),
        {row[0]: f"{row[4]} of {row[5]}, position {row[2]}, outbound {row[6]}" for row in known},
        {key: ids[nid] for key, nid in whole.items()},
        frozenset(event_id for event_id, _ in room.extremities),
    )


def undone(tx: ReadTransaction) -> int:
    """How many events wait to be processed."""
    count: int = tx.value(UNDONE)
    return count
