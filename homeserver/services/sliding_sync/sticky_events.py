"""Sticky events for clients of sliding sync: of all rooms that a list is about, in its windows or not.

A client says by a token of its own how many of them it has, and gets the oldest of the others. Spec: MSC4480.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.sliding_sync import requests
from homeserver.core.splice import array, keyed, object_of
from homeserver.core.tokens import stream_token
from homeserver.database.kinds import Kind
from homeserver.services.client_events import render
from homeserver.services.ignored_users import heard
from homeserver.services.sliding_sync.context import Context
from homeserver.services.sliding_sync.room_list import Matched
from homeserver.services.sliding_sync.room_results import ToldRoom
from homeserver.services.spoilt_rooms import left_out
from homeserver.storage import events
from homeserver.storage import sticky_events as storage
from homeserver.storage.memberships import RoomOfUser
from homeserver.storage.sticky_events import StickyEvent


class _Page(msgspec.Struct, frozen=True):
    """What the client is told next, and how far it has come with that."""

    sticky: Sequence[StickyEvent]
    upto: int


def sticky_events(
    ctx: Context, wanted: requests.StickyEvents, told: Collection[ToldRoom], matched: Matched
) -> bytes | None:
    """The extension's part of the answer; `None` if there is nothing new."""
    if not ctx.stream.changed_since(Kind.STICKY_EVENTS, 0):
        return None
    since = max(0, min(wanted.since, ctx.upto))
    rooms = _joined(told, matched)
    page = _page(ctx, since, rooms.values(), limit=wanted.limit)
    # Who is shown a room for the first time may not have known what to do with its events before.
    first = [each.wanted.room for each in told if each.result.is_initial]
    shown = _shown(ctx, [room for room in first if room.membership == "join"], 0)
    if not page.sticky and not shown:
        return None
    by_nid = {each.event_nid: each for each in (*shown, *page.sticky)}
    bodies = _bodies(ctx, by_nid.values(), rooms, told)
    body = {"next_batch": b'"%b"' % stream_token(page.upto).encode()}
    if bodies:
        body["rooms"] = keyed(bodies)
    return object_of(body)


def _joined(told: Iterable[ToldRoom], matched: Matched) -> dict[int, RoomOfUser]:
    """The rooms that a list is about, or that are subscribed to, as far as the user is in them, by number."""
    listed = (room for rooms in matched.passing for room in rooms)
    subscribed = (each.wanted.room for each in told)
    return {
        room.room_nid: room for rooms in (listed, subscribed) for room in rooms if room.membership == "join"
    }


def _page(ctx: Context, since: int, rooms: Collection[RoomOfUser], *, limit: int) -> _Page:
    """The first `limit` events that are new to the client.

    What was there when the user came into a room is new from then on, all of it at once.
    """
    new = {room.room_nid: room.since_position for room in rooms if room.since_position > since}
    found = [
        (max(each.position, new[each.room_nid]), each)
        for each in _shown(ctx, [room for room in rooms if room.room_nid in new], 0)
    ]
    if ctx.stream.changed_since(Kind.STICKY_EVENTS, since):
        others = _shown(ctx, [room for room in rooms if room.room_nid not in new], since)
        found += ((each.position, each) for each in others)
    found.sort(key=lambda pair: pair[0])
    if len(found) <= limit:
        return _Page([each for _, each in found], ctx.upto)
    last = found[limit - 1][0]
    return _Page([each for position, each in found if position <= last], last)


def _shown(ctx: Context, rooms: Collection[RoomOfUser], since: int) -> list[StickyEvent]:
    nids = [room.room_nid for room in rooms]
    if not nids:
        return []
    return storage.shown(ctx.tx, nids, since=since, upto=ctx.upto, now_ts=ctx.asking.now_ts)


def _bodies(
    ctx: Context,
    sticky: Iterable[StickyEvent],
    rooms: Mapping[int, RoomOfUser],
    told: Iterable[ToldRoom],
) -> dict[RoomID, bytes]:
    """The events by room, without those that a timeline of this answer has, and those of ignored users.

    A room of which one cannot be read is left out.
    """
    in_timelines = {event_id for each in told for event_id in each.result.event_ids}
    by_room: dict[int, list[int]] = {}
    for each in sticky:
        by_room.setdefault(each.room_nid, []).append(each.event_nid)
    stored = events.of_nids(ctx.tx, [nid for nids in by_room.values() for nid in nids])
    bodies: dict[RoomID, bytes] = {}
    for room_nid, nids in by_room.items():
        listed = [stored[nid] for nid in nids if nid in stored and stored[nid].event_id not in in_timelines]
        shown = [(event, None) for event in heard(listed, ctx.ignored)]
        room = rooms[room_nid]
        with left_out(room.room_id, ctx.asking.user_id):
            if shown:
                bodies[room.room_id] = object_of({"events": array(render(ctx.tx, ctx.view(room), shown))})
    return bodies
