"""The forward extremities of a room: its events that no accepted event names as a parent."""

from collections.abc import Collection, Mapping
from typing import Final

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import RoomVersion
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events
from homeserver.storage.events import Placed

UNSEEN: Final = (events.REJECTED, events.SOFT_FAILED)
"""What no event of this server refers to; an event on top of it is on top of what it stands on."""

MOST_WALKED: Final = 200
"""Rejected and soft-failed events that are gone through to find what an event stands on."""


def superseded_by(
    tx: ReadTransaction, event: Event, parents: Mapping[EventID, Placed], version: RoomVersion
) -> frozenset[EventID]:
    """The events that are no extremities once this one is accepted: its parents, and those of unseen ones.

    `parents` are those that are known.
    """
    found = set(event.prev_events)
    level = [parent for parent in parents.values() if parent.status in UNSEEN and not parent.is_outlier]
    walked = 0
    while level and walked < MOST_WALKED:
        walked += len(level)
        unseen = events.parsed(tx, [each.event_nid for each in level], version).values()
        above = {prev for each in unseen for prev in each.prev_events} - found
        found |= above
        level = [each for each in events.placed(tx, above).values() if each.status in UNSEEN]
    return frozenset(found)


def advanced(
    extremities: Collection[tuple[EventID, int]],
    event: Event,
    superseded: Collection[EventID],
    *,
    is_behind: bool,
) -> list[tuple[EventID, int]]:
    """The extremities once the event is accepted, newest last."""
    remaining = [pair for pair in extremities if pair[0] not in superseded and pair[0] != event.event_id]
    return remaining if is_behind and remaining else [*remaining, (event.event_id, event.depth)]
