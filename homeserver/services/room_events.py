"""Single events of rooms, found by their id or by the time they were sent."""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.aggregations import render_aggregated
from homeserver.services.backfill import gap_around
from homeserver.services.client_events import View
from homeserver.services.history_access import (
    BEGINNING,
    NEWEST,
    Access,
    Standing,
    access_to,
    enter,
    newest_readable,
    seen,
)
from homeserver.services.ignored_users import heard, ignored_by
from homeserver.storage import events, rooms
from homeserver.storage.events import StoredEvent

_FEW = 20
_MOST = 1_000
"""Events looked through for the nearest one that the user may see: mostly the first will do."""


class HistoryByTime(Protocol):
    """Fetches what is missing of the history."""

    async def reach(self, room_id: RoomID, ts: int, *, forwards: bool) -> bool:
        """Fetch it down to the event that others know at `ts` or near it; whether there is more of it now."""
        ...


class Nearest(msgspec.Struct, frozen=True):
    """The event nearest to a time of those that are here; `is_doubtful`: others may know a nearer one."""

    event: StoredEvent | None
    is_doubtful: bool


class RoomEvents(msgspec.Struct, frozen=True):
    """Finds events for those who may see them."""

    database: Database
    clock: Clock
    older: HistoryByTime

    async def get(self, requester: Requester, room_id: RoomID | None, event_id: EventID) -> bytes:
        """The event as JSON; `room_id` is `None` if the client does not say it.

        Errors: NotFound if there is no such event in the room, or the requester may not see it.
        """
        return await self.database.read(
            read_event, room_id, event_id, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )

    async def nearest(
        self, requester: Requester, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int]:
        """The event sent at `ts` (milliseconds) or nearest to it in that direction, and when it was sent.

        Errors: Forbidden if the requester may not read the room; NotFound if there is no such event.
        Spec: client-server API, `timestamp_to_event`.
        """
        found = await self.database.read(read_nearest, room_id, requester.user_id, ts, forwards=forwards)
        if found.is_doubtful and await self.older.reach(room_id, ts, forwards=forwards):
            found = await self.database.read(read_nearest, room_id, requester.user_id, ts, forwards=forwards)
        if found.event is None:
            direction = "after" if forwards else "before"
            raise NotFound(f"There is no event {direction} {ts} that you may see")
        return found.event.event_id, found.event.origin_server_ts


def read_event(
    tx: ReadTransaction,
    room_id: RoomID | None,
    event_id: EventID,
    user_id: UserID,
    device_id: str | None,
    *,
    now_ts: int,
) -> bytes:
    """As `RoomEvents.get`."""
    event = events.of(tx, event_id)
    if event is not None and room_id is None:
        room_id = rooms.ids_of(tx, [event.room_nid]).get(event.room_nid)
    access = None if room_id is None else access_to(tx, user_id, room_id)
    if event is None or access is None or event.room_nid != access.room_nid:
        raise NotFound("There is no such event, or you may not see it")
    found = seen(tx, access, heard([event], ignored_by(tx, user_id)))
    if not found:
        raise NotFound("There is no such event, or you may not see it")
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    return render_aggregated(tx, view, access, found)[0]


def read_nearest(
    tx: ReadTransaction, room_id: RoomID, user_id: UserID, ts: int, *, forwards: bool
) -> Nearest:
    """As `RoomEvents.nearest`, of what is here. Errors: Forbidden."""
    access = enter(tx, user_id, room_id)
    event = _nearest(tx, access, ts, forwards=forwards)
    return Nearest(event, gap_around(tx, room_id, ts) is not None)


def _nearest(tx: ReadTransaction, access: Access, ts: int, *, forwards: bool) -> StoredEvent | None:
    for most in (_FEW, _MOST):
        near = events.near(tx, access.room_nid, ts, forwards=forwards, most=most)
        found = seen(tx, access, near)
        if found:
            return found[0][0]
        if len(near) < most:
            return None
    # A long part of the history that the user may not see lies there: what is next to it?
    beside = [
        event
        for page in _beside_the_unseen(tx, access, forwards=forwards)
        for event, _ in seen(tx, access, page)
        if (event.origin_server_ts >= ts if forwards else event.origin_server_ts <= ts)
    ]
    nearest = min if forwards else max
    return nearest(beside, key=lambda event: (event.origin_server_ts, event.position), default=None)


def _beside_the_unseen(tx: ReadTransaction, access: Access, *, forwards: bool) -> Iterator[list[StoredEvent]]:
    """Where what the user may see begins (looking forwards) or ends."""
    if not forwards:
        newest = newest_readable(tx, access)
        yield events.page(
            tx, access.room_nid, after=BEGINNING, newest=newest, most=_MOST, order="newest first"
        )
        return
    joins = events.joins_of(tx, access.room_nid, access.reader.user_id)
    begins = set() if joins is None else {joins[0]}
    if access.standing is Standing.MEMBER:
        begins.add(access.reader.since_position)
    for begin in begins:
        yield events.page(
            tx, access.room_nid, after=begin - 1, newest=NEWEST, most=_MOST, order="oldest first"
        )
