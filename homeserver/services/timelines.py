"""Pages of a room's timeline. Spec: client-server API, "Getting events for a room"."""

import enum
from typing import Protocol

import msgspec

from homeserver.core.filters import RoomEventFilter, RoomEventMatcher, parse_room_event_filter
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.aggregations import render_aggregated
from homeserver.services.backfill import Progress
from homeserver.services.client_events import View, render
from homeserver.services.history_access import BEGINNING, NEWEST, Access, enter, newest_readable, seen
from homeserver.services.ignored_users import heard, ignored_by
from homeserver.services.sync.timeline import passing
from homeserver.storage import events, history_gaps, state
from homeserver.storage.events import StoredEvent

DEFAULT_LIMIT = 10
MAX_LIMIT = 1_000


MOST_SCANNED = 1_000
"""Events looked through for one page: where a filter or the visibility leaves few of them, a page has few."""

EVERYTHING = RoomEventMatcher.of(RoomEventFilter())


class Direction(enum.Enum):
    """The order in which a timeline is read."""

    BACKWARDS = "b"
    """From the newest to the oldest."""

    FORWARDS = "f"
    """From the oldest to the newest."""


MOST_BACKFILLS = {Direction.BACKWARDS: 3, Direction.FORWARDS: 10}
"""How often history is fetched for one page. It is fetched backwards: forwards nothing can be shown before the last."""


class Page(msgspec.Struct, frozen=True):
    """Events in the order of the direction, each with the reader's membership at it.

    `reached` is the position to go on from; if `is_exhausted`, nothing further is there now, or nothing before `gap`.
    """

    events: list[tuple[StoredEvent, str]]
    reached: int
    is_exhausted: bool
    gap: int | None = None


class PageRequest(msgspec.Struct, frozen=True):
    """A page that a client asks for; `start` and `stop` are the positions of its tokens.

    `passed`: the last gap of the history of which nothing can be had now: what is beyond it is shown.
    """

    room_id: RoomID
    direction: Direction
    start: int | None
    stop: int | None
    limit: int
    matcher: RoomEventMatcher
    passed: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """The body of a response; `gap`: there are fewer events than were asked for, since history is missing there."""

    body: bytes
    gap: int | None


class MissingHistory(Protocol):
    """Fetches what is missing of the history that is here."""

    async def extend(self, room_id: RoomID, gap: int) -> Progress:
        """Fetch some of what is missing right before the position `gap`."""
        ...


class Timelines(msgspec.Struct, frozen=True):
    """Reads the timelines of rooms; what is missing of their history is fetched when somebody gets there."""

    database: Database
    clock: Clock
    older: MissingHistory

    async def page(
        self,
        requester: Requester,
        room_id: RoomID,
        *,
        direction: Direction,
        start: int | None,
        stop: int | None,
        limit: int | None,
        filter: str | None,
    ) -> bytes:
        """The body of a response with `start`, `chunk`, and perhaps `end` and `state`.

        `start` and `stop` are positions; without `start` the page begins at the end of the timeline that the
        direction leads away from. `filter` is the JSON of a RoomEventFilter.
        Errors: Forbidden if the requester may not read the room; BadJson, NotJson, TooLarge.
        """
        matcher = matcher_of(filter)
        request = PageRequest(room_id, direction, start, stop, limit_of(limit, matcher), matcher)
        for _ in range(MOST_BACKFILLS[direction]):
            answer = await self._read(requester, request)
            if answer.gap is None:
                return answer.body
            progress = await self.older.extend(room_id, answer.gap)
            if progress is Progress.UNDERWAY:
                break
            if progress is Progress.NONE:
                request = msgspec.structs.replace(request, passed=answer.gap)
        # Who asks again from here gets more of it: one day the gap is filled, or there is nothing more to be had.
        return (await self._read(requester, request)).body

    async def _read(self, requester: Requester, request: PageRequest) -> Answer:
        return await self.database.read(
            read_messages, request, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )


def matcher_of(filter: str | None) -> RoomEventMatcher:
    """The compiled form of the parameter `filter`. Errors: BadJson, NotJson, TooLarge."""
    return RoomEventMatcher.of(parse_room_event_filter(filter.encode())) if filter else EVERYTHING


def limit_of(limit: int | None, matcher: RoomEventMatcher) -> int:
    """How many events to return: what the request says, or else its filter."""
    wanted_limit = matcher.events.limit if limit is None else limit
    return DEFAULT_LIMIT if wanted_limit is None else max(0, min(wanted_limit, MAX_LIMIT))


def read_messages(
    tx: ReadTransaction, request: PageRequest, user_id: UserID, device_id: str | None, *, now_ts: int
) -> Answer:
    """As `Timelines.page`, of what is here."""
    access = enter(tx, user_id, request.room_id)
    backwards = request.direction is Direction.BACKWARDS
    start = request.start
    if start is None:
        start = tx.stream_row().position if backwards else _before_the_first(tx, access)
    after, newest = (request.stop, start) if backwards else (start, request.stop)
    page = read_up_to_gap(
        tx,
        access,
        request.matcher,
        request.direction,
        after=BEGINNING if after is None else after,
        newest=NEWEST if newest is None else newest,
        limit=request.limit,
        passed=request.passed,
    )
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    body = {"start": _token(start), "chunk": array(render_aggregated(tx, view, access, page.events))}
    if not page.is_exhausted or page.gap is not None or (page.events and _is_beginning(tx, access, request)):
        # There may be more another time, though not for ever: an empty page, where nothing can be had, is the last.
        body["end"] = _token(page.reached)
    elif page.events and request.stop is not None:
        # The client's own end was reached, which is not the end of the room.
        body["end"] = _token(request.stop)
    if request.matcher.lazy_load_members and page.events:
        body["state"] = array(_senders(tx, view, page, backwards=backwards))
    return Answer(object_of(body), page.gap)


def _is_beginning(tx: ReadTransaction, access: Access, request: PageRequest) -> bool:
    """Whether the gap that was passed is that before the first event that is here."""
    return request.passed is not None and history_gaps.below(tx, access.room_nid, request.passed) is None


def read_up_to_gap(
    tx: ReadTransaction,
    access: Access,
    matcher: RoomEventMatcher,
    direction: Direction,
    *,
    after: int,
    newest: int,
    limit: int,
    passed: int | None = None,
) -> Page:
    """As `read_page`, but it ends at the first gap that it comes to, beyond that which has been `passed`.

    A page that has fewer events than wanted for that reason says so by its `gap`.
    """
    newest = min(newest, newest_readable(tx, access))
    room_nid = access.room_nid
    if direction is Direction.BACKWARDS:
        gap = _gap_behind(tx, room_nid, after, newest, passed)
        after = after if gap is None else max(after, gap - 1)
    else:
        gap = _gap_ahead(tx, room_nid, after, newest, passed)
        newest = newest if gap is None else min(newest, gap - 1)
    page = read_page(tx, access, matcher, direction, after=after, newest=newest, limit=limit)
    is_cut = page.is_exhausted and len(page.events) < limit and matcher.rooms.matches(access.room_id)
    return msgspec.structs.replace(page, gap=gap if is_cut else None)


def _gap_behind(
    tx: ReadTransaction, room_nid: int, after: int, newest: int, passed: int | None
) -> int | None:
    """The first gap that a reader comes to who reads back from `newest`."""
    # One that ends where the reader ends is of no interest.
    after += 1
    upto = NEWEST if passed is None else passed - 1
    gap = history_gaps.newest(tx, room_nid, after=after, upto=upto)
    if gap is None or gap <= newest or passed is not None:
        return gap
    # The reader may begin within a gap.
    above = history_gaps.above(tx, room_nid, newest)
    return history_gaps.newest(tx, room_nid, after=after, upto=newest if above is None else above)


def _gap_ahead(tx: ReadTransaction, room_nid: int, after: int, newest: int, passed: int | None) -> int | None:
    """The first gap that a reader comes to who reads from `after` on."""
    first = history_gaps.first_position(tx, room_nid)
    if first is None:
        return None
    # What precedes all that is here does not lie ahead.
    begin = max(after, first, after if passed is None else passed)
    return history_gaps.oldest(tx, room_nid, after=begin, upto=newest + 1)


def read_page(
    tx: ReadTransaction,
    access: Access,
    matcher: RoomEventMatcher,
    direction: Direction,
    *,
    after: int,
    newest: int,
    limit: int,
) -> Page:
    """Up to `limit` events with `after < position <= newest` that the reader sees and the filter lets pass.

    No more than `MOST_SCANNED` events are looked through, so that a page may be empty without being the last.
    """
    backwards = direction is Direction.BACKWARDS
    readable = newest_readable(tx, access)
    newest = min(newest, readable)
    nothing = Page([], newest if backwards else after, is_exhausted=True)
    if after >= newest or not matcher.rooms.matches(access.room_id):
        return nothing
    if limit == 0:
        return msgspec.structs.replace(nothing, is_exhausted=False)
    ignored = ignored_by(tx, access.reader.user_id)
    found: list[tuple[StoredEvent, str]] = []
    scanned = 0
    # One more than wanted tells whether there is more.
    most = limit + 1
    while True:
        rows = events.page(
            tx,
            access.room_nid,
            after=after,
            newest=newest,
            most=most,
            order="newest first" if backwards else "oldest first",
        )
        wanted_here = passing(tx, matcher, rows, newest=readable)
        found += seen(tx, access, heard(wanted_here, ignored) if ignored else wanted_here)
        is_exhausted = len(rows) < most
        if rows:
            newest, after = _beyond(rows[-1], newest, after, backwards=backwards)
        if len(found) > limit:
            found = found[:limit]
            newest, after = _beyond(found[-1][0], newest, after, backwards=backwards)
            is_exhausted = False
        scanned += len(rows)
        if is_exhausted or len(found) >= limit or scanned >= MOST_SCANNED:
            return Page(found, newest if backwards else after, is_exhausted)
        most = max(most, MOST_SCANNED // 4)


def _beyond(event: StoredEvent, newest: int, after: int, *, backwards: bool) -> tuple[int, int]:
    """The bounds of what remains when everything up to this event has been read."""
    position = position_of(event)
    return (position - 1, after) if backwards else (newest, position)


def position_of(event: StoredEvent) -> int:
    """Where an event of the timeline stands."""
    if event.position is None:
        raise ValueError(f"{event.event_id} is not part of the timeline")
    return event.position


def _before_the_first(tx: ReadTransaction, access: Access) -> int:
    """The position that the room's timeline begins after."""
    first = events.page(tx, access.room_nid, after=BEGINNING, newest=NEWEST, most=1, order="oldest first")
    return position_of(first[0]) - 1 if first else BEGINNING


def _senders(tx: ReadTransaction, view: View, page: Page, *, backwards: bool) -> list[bytes]:
    """The membership events of the senders as of the page's first event.

    That is where the client stands when it applies the page to what it knows of the room's state.
    """
    first = page.events[0][0]
    if first.state_root is None:
        return []
    nids = state.members(tx, first.state_root, {event.sender for event, _ in page.events})
    if backwards and first.type == "m.room.member" and first.state_key is not None:
        # The page itself shows what that user's membership is at this end of it.
        nids.pop(first.state_key, None)
    stored = events.of_nids(tx, nids.values())
    return render(tx, view, [(stored[nid], None) for _, nid in sorted(nids.items())])


def _token(position: int) -> bytes:
    return b'"s%d"' % position
