"""The stream of new events: what clients read before `/sync`, and still read to watch a room from outside.

Spec: client-server API, "Room previews" and `old_sync`.
"""

from collections.abc import Iterable, Mapping

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.core.room_versions import get_room_version
from homeserver.core.splice import array, object_of
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.backfill import Progress
from homeserver.services.client_events import View, render
from homeserver.services.history_access import Access, access_to, enter
from homeserver.services.ignored_users import ignored_by
from homeserver.services.sync.service import MAX_TIMEOUT_MS
from homeserver.services.sync.waiters import Waiters
from homeserver.services.timelines import (
    EVERYTHING,
    Direction,
    MissingHistory,
    Page,
    position_of,
    read_up_to_gap,
)
from homeserver.services.unwanted_invites import unwanted
from homeserver.storage import events, memberships
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import RoomOfUser

LIMIT = 100
"""The most events of one answer."""

MOST_READ = 2_000
"""About how many events are read for it, from all rooms of a client that has been away."""

MOST_BACKFILLS = 3
"""How often history is fetched for one answer. Who listens cannot be told that something is missing."""


class Listening(msgspec.Struct, frozen=True):
    """Who listens, from which position on (`None`: now), to one room or (`None`) to all of the user's.

    `passed`: by room the last gap of which nothing was to be had soon; what is beyond it is told.
    """

    user_id: UserID
    device_id: str | None
    since: int | None
    room_id: RoomID | None
    passed: Mapping[RoomID, int] = msgspec.field(default_factory=dict)


class NewEvents(msgspec.Struct, frozen=True):
    """Rendered events after `start`, up to `end`; `upto` is the stream's position, `topics` tell of more.

    `gap`: the room, and the position there, in which history is missing that comes next.
    """

    start: int
    end: int
    upto: int
    events: list[bytes]
    topics: frozenset[str]
    gap: tuple[RoomID, int] | None


class EventStream(msgspec.Struct, frozen=True):
    """Answers who listens for events."""

    database: Database
    clock: Clock
    reactor: IReactorTime
    waiters: Waiters
    older: MissingHistory

    async def listen(
        self, requester: Requester, *, room_id: RoomID | None, since: int | None, timeout_ms: int
    ) -> bytes:
        """The body of a response: the events after the position `since`, as soon as there are any.

        Waits up to `timeout_ms` for them. With `room_id` it is about this room, which everybody may read or
        the requester is in; else about all rooms that the requester is in, or is invited to.
        Errors: Forbidden if the requester may not read the room.
        """
        deadline_ms = self.clock.monotonic_ms() + min(timeout_ms, MAX_TIMEOUT_MS)
        listening = Listening(requester.user_id, requester.device_id, since, room_id)
        key = f"{requester.user_id} {room_id or 'events'}"
        start = since
        topics: frozenset[str] | None = None
        backfills = 0
        while True:
            # Who waits before looking misses nothing that is published after the look; what there is to wait
            # for, the first look tells.
            waiter = None if topics is None else self.waiters.add(key, topics)
            try:
                new = await self.database.read(read_new, listening, now_ts=self.clock.now_ts())
                start = new.start if start is None else start
                if new.gap is not None and not new.events:
                    listening = await self._bridge(listening, *new.gap, is_late=backfills >= MOST_BACKFILLS)
                    backfills += 1
                    continue
                left_ms = deadline_ms - self.clock.monotonic_ms()
                if new.events or (new.end >= new.upto and (left_ms <= 0 or self.waiters.closing)):
                    return _body(start, new)
                listening = msgspec.structs.replace(listening, since=new.end)
                if waiter is not None and topics == new.topics and new.end >= new.upto:
                    await self._woken(waiter.woken, left_ms)
                topics = new.topics
            finally:
                if waiter is not None:
                    self.waiters.remove(waiter)

    async def _bridge(self, listening: Listening, room_id: RoomID, gap: int, *, is_late: bool) -> Listening:
        """Fetch what comes next, or else pass over it: the news must not wait for what is old."""
        if not is_late and await self.older.extend(room_id, gap) is Progress.MORE:
            return listening
        return msgspec.structs.replace(listening, passed={**listening.passed, room_id: gap})

    async def _woken(self, woken: Deferred[None], timeout_ms: int) -> None:
        """Until something was published, or the time is up."""
        call = self.reactor.callLater(timeout_ms / 1000, _fire, woken)
        try:
            await woken
        finally:
            if call.active():
                call.cancel()


def read_new(tx: ReadTransaction, listening: Listening, *, now_ts: int) -> NewEvents:
    """What there is to hear. Errors: Forbidden."""
    upto = tx.stream_row().position
    since = upto if listening.since is None else listening.since
    topics = {user_topic(listening.user_id)}
    if listening.room_id is not None:
        access = enter(tx, listening.user_id, listening.room_id)
        topics.add(room_topic(listening.room_id))
        view = _view(listening, access.room_id, access.version.identifier, now_ts)
        heard = [(view, _page(tx, listening, access, since, upto, limit=LIMIT))]
    else:
        mine = memberships.rooms_of(tx, listening.user_id)
        topics.update(room_topic(room.room_id) for room in mine if room.membership == "join")
        news = [room for room in mine if room.last_position > since]
        limit = max(1, min(LIMIT, MOST_READ // max(1, len(news))))
        heard = [
            (
                _view(listening, room.room_id, room.version, now_ts),
                _of_room(tx, listening, room, since, upto, limit=limit),
            )
            for room in news
        ]
    end, chunk = _in_order(tx, heard, max(since, upto))
    gap = next(
        ((view.room_id, page.gap) for view, page in heard if page.gap is not None and page.reached == end),
        None,
    )
    return NewEvents(since, end, upto, chunk, frozenset(topics), gap)


def _of_room(
    tx: ReadTransaction, listening: Listening, room: RoomOfUser, since: int, upto: int, *, limit: int
) -> Page:
    """What is new in one of the user's rooms; of one that the user was only invited to, the membership."""
    user_id = listening.user_id
    if room.membership == "join" or (room.was_joined and room.membership != "invite"):
        access = access_to(tx, user_id, room.room_id)
        if access is not None:
            return _page(tx, listening, access, since, upto, limit=limit)
    found: list[tuple[StoredEvent, str]] = []
    is_hidden = bool(unwanted(tx, user_id, [room], ignored_by(tx, user_id)))
    if room.position > since and not room.forgotten and not is_hidden:
        member = events.of_nids(tx, [room.event_nid]).values()
        found = [(event, room.membership) for event in member if event.position is not None]
    return Page(found, upto, is_exhausted=True)


def _page(
    tx: ReadTransaction, listening: Listening, access: Access, since: int, upto: int, *, limit: int
) -> Page:
    return read_up_to_gap(
        tx,
        access,
        EVERYTHING,
        Direction.FORWARDS,
        after=since,
        newest=upto,
        limit=limit,
        passed=listening.passed.get(access.room_id),
    )


def _in_order(tx: ReadTransaction, heard: Iterable[tuple[View, Page]], upto: int) -> tuple[int, list[bytes]]:
    """The first events of all rooms together, and the position that they reach."""
    heard = list(heard)
    end = min(
        (page.reached for _, page in heard if not page.is_exhausted or page.gap is not None), default=upto
    )
    found = sorted(
        (
            (position_of(event), index, event, membership)
            for index, (_, page) in enumerate(heard)
            for event, membership in page.events
            if position_of(event) <= end
        ),
        key=lambda each: each[:2],
    )
    if len(found) > LIMIT:
        found = found[:LIMIT]
        end = found[-1][0]
    return end, [
        rendered
        for _, index, event, membership in found
        for rendered in render(tx, heard[index][0], [(event, membership)])
    ]


def _view(listening: Listening, room_id: RoomID, version: str, now_ts: int) -> View:
    return View(
        room_id,
        get_room_version(version),
        listening.user_id,
        listening.device_id,
        now_ts,
        with_room_id=True,
    )


def _body(start: int, new: NewEvents) -> bytes:
    return object_of({"start": b'"s%d"' % start, "end": b'"s%d"' % new.end, "chunk": array(new.events)})


def _fire(woken: Deferred[None]) -> None:
    if not woken.called:
        woken.callback(None)
