"""The events that a user has been notified of. Spec: client-server API, "Listing Notifications"."""

import heapq
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import encode
from homeserver.core.receipts import UNTHREADED
from homeserver.core.requester import Requester
from homeserver.core.room_versions import get_room_version
from homeserver.core.splice import array, object_of
from homeserver.core.tokens import stream_token
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.client_events import View, render
from homeserver.services.ignored_users import ignored_by
from homeserver.services.notification_actions import outcomes
from homeserver.services.push_rules import ruleset_of
from homeserver.services.unwanted_invites import unwanted
from homeserver.storage import events, memberships, notifications, receipts
from homeserver.storage.memberships import RoomOfUser
from homeserver.storage.notifications import Outcome

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

AT_ONCE: Final = 100
"""Events of a room that are read in one go."""

MOST_SCANNED: Final = 10_000
"""Events looked through for one page: where few of them notify, a page has few."""

MAIN: Final = "main"
"""The main timeline, as the thread of a receipt."""


class Notifications(msgspec.Struct, frozen=True):
    """Lists what has notified users."""

    database: Database
    clock: Clock

    async def page(
        self, requester: Requester, *, start: int | None, limit: int | None, only_highlights: bool
    ) -> bytes:
        """The body of a response: notifications of the rooms that the user is in or invited to, newest first.

        `start` is the position of a `next_token`. A room counts from when the user last joined it. Ignored users, and
        invitations that the user is not shown, are left out.
        """
        most = DEFAULT_LIMIT if limit is None else max(1, min(limit, MAX_LIMIT))
        wanted = notifications.HIGHLIGHTS if only_highlights else notifications.NOTIFIES
        return await self.database.read(
            read_notifications,
            requester.user_id,
            requester.device_id,
            Wanted(wanted, most, start),
            now_ts=self.clock.now_ts(),
        )


class Wanted(msgspec.Struct, frozen=True):
    """The notifications that a client asks for: those with this bit, up to so many, from a position back."""

    bit: int
    limit: int
    start: int | None


class _Notified(msgspec.Struct, frozen=True):
    """An event that notified the user, and its room."""

    room: RoomOfUser
    outcome: Outcome


class _Rendered(msgspec.Struct, frozen=True):
    """What is told of the event itself: its time, and as JSON itself and the actions of the rule that it met."""

    ts: int
    event: bytes
    actions: bytes


class _Page(msgspec.Struct, frozen=True):
    """Notifications, newest first; the next page begins at the position `next`, None if there is none."""

    shown: Sequence[_Notified]
    next: int | None


def read_notifications(
    tx: ReadTransaction, user_id: UserID, device_id: str | None, wanted: Wanted, *, now_ts: int
) -> bytes:
    """As `Notifications.page`."""
    start = tx.stream_row().position if wanted.start is None else wanted.start
    page = _merge(tx, user_id, wanted, start)
    rendered = _render(tx, user_id, device_id, page.shown, now_ts=now_ts)
    rooms = {each.room.room_nid for each in page.shown}
    read_upto = receipts.own(tx, user_id, rooms) if rooms else {}
    body = {
        "notifications": array(
            _notification(each, rendered[each.outcome.event_nid], read_upto.get(each.room.room_nid, {}))
            for each in page.shown
        )
    }
    if page.next is not None:
        body["next_token"] = b'"%b"' % stream_token(page.next).encode()
    return object_of(body)


def _merge(tx: ReadTransaction, user_id: UserID, wanted: Wanted, start: int) -> _Page:
    """Read the rooms backwards, each no further than the page needs, beginning with those of the latest events."""
    rooms, ignored = memberships.rooms_of(tx, user_id), ignored_by(tx, user_id)
    hidden = unwanted(tx, user_id, rooms, ignored)
    silent = ignored | {user_id}
    unread = [
        (-upto, room.room_nid, room)
        for room in rooms
        if room.room_nid not in hidden and (upto := min(_last(room), start)) > _after(room)
    ]
    heapq.heapify(unread)
    found: list[_Notified] = []
    budget = MOST_SCANNED
    looked_into: set[int] = set()
    while unread:
        upto, room_nid, room = -unread[0][0], *unread[0][1:]
        if len(found) > wanted.limit and found[wanted.limit].outcome.position > upto:
            break
        if budget <= 0 and room_nid in looked_into:
            # Each room is looked into once at least, or the next page would begin where this one did.
            break
        heapq.heappop(unread)
        looked_into.add(room_nid)
        rows = notifications.backwards(tx, user_id, room_nid, after=_after(room), upto=upto, most=AT_ONCE)
        budget -= len(rows)
        for outcome in rows:
            if outcome.notify & wanted.bit and outcome.sender not in silent and _is_shown(room, outcome):
                insort(found, _Notified(room, outcome), key=_newest_first)
        if len(rows) == AT_ONCE:
            heapq.heappush(unread, (1 - rows[-1].position, room_nid, room))
    # What is further back than some room has been read may lack something in between.
    frontier = -unread[0][0] if unread else None
    complete = [each for each in found if frontier is None or each.outcome.position > frontier]
    if len(complete) > wanted.limit:
        shown = complete[: wanted.limit]
        return _Page(shown, shown[-1].outcome.position - 1)
    return _Page(complete, frontier)


def _newest_first(notified: _Notified) -> int:
    return -notified.outcome.position


def _last(room: RoomOfUser) -> int:
    """The last position of a room that its user may have been notified of, 0 for none."""
    if room.membership == "join":
        return room.last_position
    return room.position if room.membership == "invite" else 0


def _after(room: RoomOfUser) -> int:
    """The position after which a user has been notified of a room's events. Of an invitation, only that counts."""
    return room.since_position if room.membership == "join" else room.position - 1


def _is_shown(room: RoomOfUser, outcome: Outcome) -> bool:
    """Whether the user is shown the event: an accepted one, or an invitation, also to a room that is not here."""
    if room.membership == "invite":
        return outcome.event_nid == room.event_nid
    return outcome.status == events.ACCEPTED


def _render(
    tx: ReadTransaction,
    user_id: UserID,
    device_id: str | None,
    notified: Iterable[_Notified],
    *,
    now_ts: int,
) -> dict[int, _Rendered]:
    """The events, by number."""
    by_room: dict[int, list[_Notified]] = {}
    for each in notified:
        by_room.setdefault(each.room.room_nid, []).append(each)
    stored = events.of_nids(tx, [each.outcome.event_nid for listed in by_room.values() for each in listed])
    ruleset = ruleset_of(tx, user_id)
    rendered: dict[int, _Rendered] = {}
    for listed in by_room.values():
        room = listed[0].room
        version = get_room_version(room.version)
        view = View(room.room_id, version, user_id, device_id, now_ts, with_room_id=False)
        shown = [(stored[each.outcome.event_nid], each.outcome.notify) for each in listed]
        data = render(tx, view, [(event, room.membership) for event, _ in shown])
        meant = outcomes(tx, ruleset, user_id, room, shown)
        for (event, _), json, outcome in zip(shown, data, meant, strict=True):
            actions = encode(list(outcome.actions))
            rendered[event.event_nid] = _Rendered(event.origin_server_ts, json, actions)
    return rendered


def _notification(notified: _Notified, rendered: _Rendered, read_upto: Mapping[str, int]) -> bytes:
    outcome, room = notified.outcome, notified.room
    threads = (UNTHREADED, MAIN if outcome.thread_id is None else outcome.thread_id)
    is_read = any(read_upto.get(thread, 0) >= outcome.position for thread in threads)
    return object_of(
        {
            "room_id": encode(room.room_id),
            "event": rendered.event,
            "actions": rendered.actions,
            "read": b"true" if is_read else b"false",
            "ts": b"%d" % rendered.ts,
        }
    )
