"""Gaps in a room's history: what is missing before an event, after an outage or a time out of the room.

Where an event opens a gap, positions are left free before it: what is fetched later is stored there.
"""

from collections.abc import Collection
from typing import Final

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, history_gaps

ROOM: Final = 100_000
"""Positions that are left free: a history that is longer stays missing at its beginning.

Ten gaps in each second would use up the positions in 100,000 years.
"""

NEARBY: Final = 20
"""Events whose depths, and whose places, differ by no more stand at the end of the same gap: it may end with a fork."""


def known_gap(tx: ReadTransaction, room_nid: int, event: Event, missing: Collection[EventID]) -> int | None:
    """The gap that the parents which an event lacks belong to, by its position; `None` if they are another."""
    found = history_gaps.of_missing(tx, room_nid, sorted(missing))
    if found is not None:
        return found
    if event.depth <= events.first_depth(tx, room_nid):
        # Older than all that came to this server as it happened.
        beginning = history_gaps.first_position(tx, room_nid)
        if beginning is not None and history_gaps.missing(tx, room_nid, beginning, most=1):
            return beginning
    found = history_gaps.at_depth(tx, room_nid, least=event.depth - NEARBY, most=event.depth + NEARBY)
    return found if found is not None and history_gaps.is_recent(tx, room_nid, found, most=NEARBY) else None
