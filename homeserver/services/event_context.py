"""What stood before and after an event. Spec: client-server API, "Event context"."""

from collections.abc import Collection

import msgspec

from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.filters import RoomEventMatcher
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.aggregations import render_aggregated
from homeserver.services.backfill import Progress
from homeserver.services.client_events import View, render
from homeserver.services.history_access import (
    BEGINNING,
    NEWEST,
    Access,
    Standing,
    access_to,
    newest_readable,
    seen,
)
from homeserver.services.ignored_users import heard, ignored_by
from homeserver.services.sync.timeline import passing
from homeserver.services.timelines import (
    Answer,
    Direction,
    MissingHistory,
    Page,
    limit_of,
    matcher_of,
    position_of,
    read_up_to_gap,
)
from homeserver.storage import events, state
from homeserver.storage.events import StoredEvent

MEMBER = "m.room.member"


class ContextRequest(msgspec.Struct, frozen=True):
    """The surroundings that a client asks for: up to `limit` events in all, beside the event itself."""

    room_id: RoomID
    event_id: EventID
    limit: int
    matcher: RoomEventMatcher


class EventContexts(msgspec.Struct, frozen=True):
    """Shows events in their surroundings."""

    database: Database
    clock: Clock
    older: MissingHistory

    async def around(
        self,
        requester: Requester,
        room_id: RoomID,
        event_id: EventID,
        *,
        limit: int | None,
        filter: str | None,
    ) -> bytes:
        """The body of a response: the event, what stood before and after it, and the state at the last event.

        `filter` is the JSON of a RoomEventFilter.
        Errors: Forbidden if the requester may not read the room; NotFound if it may, but does not see such an
        event; BadJson, NotJson, TooLarge.
        """
        matcher = matcher_of(filter)
        request = ContextRequest(room_id, event_id, limit_of(limit, matcher), matcher)
        answer = await self._read(requester, request)
        if answer.gap is not None and await self.older.extend(room_id, answer.gap) is Progress.MORE:
            answer = await self._read(requester, request)
        return answer.body

    async def _read(self, requester: Requester, request: ContextRequest) -> Answer:
        return await self.database.read(
            read_context, request, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )


def read_context(
    tx: ReadTransaction, request: ContextRequest, user_id: UserID, device_id: str | None, *, now_ts: int
) -> Answer:
    """As `EventContexts.around`, of what is here."""
    access, event, membership = _find(tx, request, user_id)
    matcher, position = request.matcher, position_of(event)
    before = read_up_to_gap(
        tx,
        access,
        matcher,
        Direction.BACKWARDS,
        after=BEGINNING,
        newest=position - 1,
        limit=request.limit // 2,
    )
    after = read_up_to_gap(
        tx,
        access,
        matcher,
        Direction.FORWARDS,
        after=position,
        newest=NEWEST,
        limit=request.limit - request.limit // 2,
    )
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    shown, *shown_around = render_aggregated(
        tx, view, access, [(event, membership), *before.events, *after.events]
    )
    last = after.events[-1][0] if after.events else event
    senders = _senders(before, after) | {event.sender}
    body = object_of(
        {
            "start": b'"s%d"' % before.reached,
            "end": b'"s%d"' % after.reached,
            "event": shown,
            "events_before": array(shown_around[: len(before.events)]),
            "events_after": array(shown_around[len(before.events) :]),
            "state": array(_state(tx, view, matcher, last, senders, newest=newest_readable(tx, access))),
        }
    )
    return Answer(body, before.gap)


def _find(tx: ReadTransaction, request: ContextRequest, user_id: UserID) -> tuple[Access, StoredEvent, str]:
    """The event, and the requester's membership at it. Errors: Forbidden, NotFound."""
    access = access_to(tx, user_id, request.room_id)
    if access is None:
        raise Forbidden("You are not in this room")
    event = events.of(tx, request.event_id)
    if event is not None and event.room_nid == access.room_nid and event.position is not None:
        found = seen(tx, access, heard([event], ignored_by(tx, user_id)))
        if found:
            return access, *found[0]
    if access.standing is Standing.OUTSIDER:
        raise Forbidden("You are not in this room")
    raise NotFound("There is no such event, or you may not see it")


def _senders(*pages: Page) -> set[str]:
    return {event.sender for page in pages for event, _ in page.events}


def _state(
    tx: ReadTransaction,
    view: View,
    matcher: RoomEventMatcher,
    last: StoredEvent,
    senders: Collection[str],
    *,
    newest: int,
) -> list[bytes]:
    """The room's state after `last`; with lazy loading, of the members only the senders.

    What relates to it, should the filter ask for that, counts up to `newest`.
    """
    if last.state_root is None or matcher.events.matches_none or not matcher.rooms.matches(view.room_id):
        return []
    nids = state.whole(tx, last.state_root)
    if last.state_key is not None:
        nids[last.type, last.state_key] = last.event_nid
    if matcher.lazy_load_members:
        nids = {key: nid for key, nid in nids.items() if key[0] != MEMBER or key[1] in senders}
    stored = events.of_nids(tx, nids.values())
    shown = [stored[nid] for _, nid in sorted(nids.items())]
    return render(tx, view, [(event, None) for event in passing(tx, matcher, shown, newest=newest)])
