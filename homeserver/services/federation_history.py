"""A room's history for other servers: what precedes events, and what was sent at some time.

Spec: server-server API, "Backfilling and retrieving missing events", "Retrieving events".
"""

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.references import prev_events_of
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_access import SERVED, enter, shown, transaction_of
from homeserver.services.server_visibility import visible
from homeserver.storage import events
from homeserver.storage.events import StoredEvent

MOST_BACKFILLED: Final = 100
MOST_MISSING: Final = 50
MOST_STARTS: Final = 50
"""Events that a server may start from in one request."""

MOST_VISITED: Final = 400
"""Events that one request looks at: those of no use to the other server count, too."""

FEW_NEAR: Final = 20
MOST_NEAR: Final = 1_000


class MissingEvents(msgspec.Struct, frozen=True):
    """What a server asks for that has `earliest`, has been sent `latest`, and lacks what is in between."""

    room_id: RoomID
    earliest: frozenset[EventID]
    latest: tuple[EventID, ...]
    limit: int
    min_depth: int


class FederationHistory(msgspec.Struct, frozen=True):
    """Hands out the history of rooms. What the asking server may not see is redacted."""

    database: Database
    clock: Clock
    server_name: ServerName

    async def backfill(
        self, origin: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> bytes:
        """A transaction with these events and what precedes them, newest first, up to `limit` in all.

        Errors: InvalidParam; Forbidden if the asking server is not in the room.
        """
        if not event_ids or len(event_ids) > MOST_STARTS:
            raise InvalidParam(f"v names from 1 to {MOST_STARTS} events")
        if limit < 1:
            raise InvalidParam("limit is less than 1")
        found = await self.database.read(
            read_backfill, origin, room_id, event_ids, min(limit, MOST_BACKFILLED)
        )
        return transaction_of(self.server_name, found, now_ts=self.clock.now_ts())

    async def missing(self, origin: ServerName, asked: MissingEvents) -> bytes:
        """The events before `latest`, oldest first: the body of the answer.

        Errors: InvalidParam; Forbidden if the asking server is not in the room.
        """
        if len(asked.latest) > MOST_STARTS:
            raise InvalidParam(f"latest_events has more than {MOST_STARTS} events")
        if asked.limit < 0:
            raise InvalidParam("limit is negative")
        return await self.database.read(read_missing, origin, asked)

    async def nearest(
        self, origin: ServerName, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int]:
        """The event sent at `ts` (milliseconds) or nearest to it in that direction, and when it was sent.

        Errors: Forbidden if the asking server is not in the room; NotFound if there is none that it may see.
        """
        return await self.database.read(read_nearest, origin, room_id, ts, forwards=forwards)


def read_backfill(
    tx: ReadTransaction, origin: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
) -> list[bytes]:
    """As `FederationHistory.backfill`."""
    room, reader = enter(tx, origin, room_id)
    known = _Known(tx, room.room_nid)
    waiting: list[tuple[int, int, int, StoredEvent]] = []
    asked_for: set[EventID] = set()

    def wait_for(some: Iterable[EventID], before: StoredEvent | None) -> None:
        new = [event_id for event_id in dict.fromkeys(some) if event_id not in asked_for]
        asked_for.update(new)
        for event in known.of(new, before=before, most=limit):
            # The deepest first; among equals the one that came last.
            place = (-event.depth, -(event.position or 0), event.event_nid)
            heapq.heappush(waiting, (*place, event))

    wait_for(event_ids, None)
    found: list[StoredEvent] = []
    visited = 0
    while waiting and len(found) < limit and visited < MOST_VISITED:
        event = heapq.heappop(waiting)[-1]
        visited += 1
        if event.status in SERVED:
            found.append(event)
        wait_for(prev_events_of(event.pdu), event)
    return shown(tx, reader, found)


def read_missing(tx: ReadTransaction, origin: ServerName, asked: MissingEvents) -> bytes:
    """As `FederationHistory.missing`."""
    room, reader = enter(tx, origin, asked.room_id)
    limit = min(asked.limit, MOST_MISSING)
    known = _Known(tx, room.room_nid)
    # Breadth first: from each event to its `prev_events`, without what the other server has or was sent.
    waiting = deque(known.of(asked.latest, before=None, most=limit))
    asked_for = {*asked.earliest, *asked.latest}
    found: list[StoredEvent] = []
    visited = 0
    while waiting and len(found) < limit and visited < MOST_VISITED:
        event = waiting.popleft()
        visited += 1
        new = [each for each in dict.fromkeys(prev_events_of(event.pdu)) if each not in asked_for]
        asked_for.update(new)
        for previous in known.of(new, before=event, most=limit):
            if previous.depth < asked.min_depth:
                continue
            waiting.append(previous)
            if previous.status in SERVED and len(found) < limit:
                found.append(previous)
    found.sort(key=lambda event: (event.depth, event.position or 0))
    return object_of({"events": array(shown(tx, reader, found))})


def read_nearest(
    tx: ReadTransaction, origin: ServerName, room_id: RoomID, ts: int, *, forwards: bool
) -> tuple[EventID, int]:
    """As `FederationHistory.nearest`."""
    room, reader = enter(tx, origin, room_id)
    for most in (FEW_NEAR, MOST_NEAR):
        near = events.near(tx, room.room_nid, ts, forwards=forwards, most=most)
        seen = visible(tx, reader, near)
        for event in near:
            if event.event_nid in seen:
                return event.event_id, event.origin_server_ts
        if len(near) < most:
            break
    direction = "forward" if forwards else "backward"
    raise NotFound(f"Unable to find event from {ts} in {direction} direction")


class _Known:
    """The events of a room as this server has them, read some at a time along the timeline."""

    def __init__(self, tx: ReadTransaction, room_nid: int) -> None:
        self._tx = tx
        self._room_nid = room_nid
        self._events: dict[EventID, StoredEvent] = {}
        self._read_down_to: int | None = None

    def of(
        self, event_ids: Collection[EventID], *, before: StoredEvent | None, most: int
    ) -> list[StoredEvent]:
        """Those of the events that are part of the room's history, or were refused there.

        They are expected to stand before the event `before`: up to `most` that do so are read in one go.
        """
        if before is not None and any(event_id not in self._events for event_id in event_ids):
            self._read_ahead(before, most)
        missing = [event_id for event_id in event_ids if event_id not in self._events]
        if missing:
            self._keep(events.of_ids(self._tx, missing).values())
        return [self._events[event_id] for event_id in event_ids if event_id in self._events]

    def _read_ahead(self, before: StoredEvent, most: int) -> None:
        if before.position is None:
            return
        if self._read_down_to is not None and before.position > self._read_down_to:
            return
        page = events.page(
            self._tx,
            self._room_nid,
            after=-(2**62),
            newest=before.position - 1,
            most=most,
            order="newest first",
        )
        self._keep(page)
        self._read_down_to = page[-1].position if page else -(2**62)

    def _keep(self, stored: Iterable[StoredEvent]) -> None:
        for event in stored:
            if event.room_nid == self._room_nid and event.status != events.OUTLIER:
                self._events[event.event_id] = event
