"""What a client is told of one room. Spec: MSC4186, "Room results" and `RoomResult`."""

import functools
from collections.abc import Mapping

import msgspec

from homeserver.core.filters import CompiledFilter, Filter, RoomEventFilter, RoomEventMatcher, RoomFilter
from homeserver.core.identifiers import EventID
from homeserver.core.json import encode
from homeserver.core.sliding_sync.told import DIRECT, EVERYTHING, LEFT, OUTSIDE, UP_TO_DATE, RoomRecord
from homeserver.core.splice import array
from homeserver.services.aggregations import render_aggregated
from homeserver.services.client_events import render
from homeserver.services.history_access import BEGINNING, access_of, departure_of, reader_of
from homeserver.services.sliding_sync.context import Context, Wanted
from homeserver.services.sliding_sync.required import States, required_state, with_redacted
from homeserver.services.sliding_sync.summaries import summary
from homeserver.services.sync.stripped import stripped_events
from homeserver.services.sync.timeline import MAX_LIMIT, Timeline, read_timeline
from homeserver.services.sync.unread import read_unread
from homeserver.storage import events, state

ReadUpto = Mapping[int, Mapping[str, int]]
"""How far the user has read: per room, as `receipts.own` gives it."""


class RoomResult(msgspec.Struct, frozen=True):
    """A room's part of the answer; `body` is `None` if there is nothing to say. `event_ids` are its timeline.

    `is_expanded`: the timeline has events from before what the client has been told last.
    """

    body: dict[str, bytes] | None
    event_ids: tuple[EventID, ...] = ()
    is_initial: bool = False
    is_expanded: bool = False


class ToldRoom(msgspec.Struct, frozen=True):
    """A room of the request, and what this answer tells of it."""

    wanted: Wanted
    result: RoomResult


class _Span(msgspec.Struct, frozen=True):
    """The part of a room's history that the client is told: from `told` (`None`: it has nothing) to `newest`.

    `departure` is where the user has left the room, `None` for members. `expanded`: it wants more of what it has.
    """

    told: int | None
    newest: int
    departure: int | None
    expanded: bool


def is_outside(wanted: Wanted) -> bool:
    """Whether the user is told of a membership only, and nothing of the room itself."""
    room = wanted.room
    return room.membership in ("invite", "knock") or (room.membership != "join" and not room.was_joined)


def may_have_news(ctx: Context, wanted: Wanted) -> bool:
    """Whether there may be something to tell of the room, judged by what is known without reading of it."""
    told, record = ctx.told_upto(wanted.record), wanted.record
    if record is None or told is None:
        return True
    room = wanted.room
    return (
        room.position > told
        or (room.membership == "join" and max(room.last_position, room.state_position) > told)
        or is_outside(wanted) != record.is_(OUTSIDE)
        or (not is_outside(wanted) and _has_grown(ctx, wanted, record))
    )


def _has_grown(ctx: Context, wanted: Wanted, record: RoomRecord) -> bool:
    """Whether the client wants more than before, or something else has changed that no event tells."""
    return (
        wanted.config.timeline_limit > record.limit
        or wanted.config.required_state != ctx.told.configs[record.config]
        or wanted.is_dm != record.is_(DIRECT)
    )


def outside_result(ctx: Context, wanted: Wanted) -> RoomResult:
    """An invitation, a knock, or the end of one. Spec: MSC4186, "Invite/knock/rejections"."""
    room, told = wanted.room, ctx.told_upto(wanted.record)
    _record(ctx, wanted, limit=0, flags=OUTSIDE)
    if (
        wanted.record is not None
        and wanted.record.is_(OUTSIDE)
        and told is not None
        and room.position <= told
    ):
        return RoomResult(None)
    body = _common(ctx, wanted, room.position)
    body["initial"] = b"true"
    shown = stripped_events(ctx.tx, room, ctx.asking.user_id)
    body["stripped_state" if ctx.is_stable else "invite_state"] = shown
    return RoomResult(body, is_initial=True)


def inside_result(ctx: Context, wanted: Wanted, read_upto: ReadUpto) -> RoomResult:
    """A room that the user is in, or was in once."""
    span = _span(ctx, wanted)
    timeline = _timeline(ctx, wanted, span)
    states = _states(ctx, wanted, span)
    body: dict[str, bytes] = {}
    if span.told is None:
        body["initial"] = b"true"
    if timeline is not None:
        body |= _timeline_json(ctx, wanted, span, timeline)
    shown = timeline or Timeline([], limited=False, prev_batch=span.newest)
    if span.told is not None:
        states = with_redacted(ctx, wanted, states, shown, told=span.told)
    if section := required_state(ctx, wanted, states, shown):
        body["required_state"] = array(section)
    body |= summary(ctx, wanted, states)
    if span.departure is not None and _membership_is_new(ctx, wanted) and "timeline" not in body:
        body |= _own_membership(ctx, wanted)
    was_dm = span.told is not None and wanted.record is not None and wanted.record.is_(DIRECT)
    if was_dm != wanted.is_dm:
        body["is_dm"] = b"true" if wanted.is_dm else b"false"
    _record(ctx, wanted, limit=_known_limit(wanted, span, timeline), flags=0)
    if not body:
        return RoomResult(None)
    bump = wanted.room.position if span.departure is not None else _bump(wanted)
    body |= _common(ctx, wanted, bump)
    if not ctx.is_stable and span.departure is None:
        body |= _unread(ctx, wanted, read_upto)
    event_ids = tuple(event.event_id for event, _ in shown.events)
    return RoomResult(body, event_ids, is_initial=span.told is None, is_expanded=span.expanded)


def counts_result(ctx: Context, wanted: Wanted, read_upto: ReadUpto) -> RoomResult:
    """A room of which nothing is new but how much of it is unread."""
    return RoomResult(_common(ctx, wanted, _bump(wanted)) | _unread(ctx, wanted, read_upto))


def _span(ctx: Context, wanted: Wanted) -> _Span:
    room, record = wanted.room, wanted.record
    told = ctx.told_upto(record)
    departure = None if room.membership == "join" else departure_of(ctx.tx, ctx.asking.user_id, room)
    newest = ctx.upto if departure is None else departure
    if record is None or told is None or record.is_(OUTSIDE):
        return _Span(None, newest, departure, expanded=False)
    # What happened between two stays in the room is not the client's to know, so it begins anew.
    came_back = room.since_position > told if departure is None else record.is_(LEFT) and departure > told
    if came_back:
        return _Span(None, newest, departure, expanded=False)
    return _Span(told, newest, departure, expanded=wanted.config.timeline_limit > record.limit)


def _timeline(ctx: Context, wanted: Wanted, span: _Span) -> Timeline | None:
    """The newest events, `None` if there can be none."""
    has_news = span.told is None or span.newest > span.told
    if span.departure is None and span.told is not None:
        has_news = wanted.room.last_position > span.told
    if not has_news and not span.expanded:
        return None
    begin_anew = span.told is None or span.expanded
    timeline = read_timeline(
        ctx.tx,
        reader_of(ctx.asking.user_id, wanted.room),
        _newest(min(wanted.config.timeline_limit, MAX_LIMIT)),
        after=BEGINNING if begin_anew or span.told is None else span.told,
        newest=span.newest,
        ignored=ctx.ignored,
    )
    return timeline if begin_anew or timeline.events or timeline.limited else None


@functools.lru_cache(maxsize=MAX_LIMIT + 1)
def _newest(limit: int) -> RoomEventMatcher:
    return CompiledFilter.of(Filter(room=RoomFilter(timeline=RoomEventFilter(limit=limit)))).timeline


def _states(ctx: Context, wanted: Wanted, span: _Span) -> States:
    room = wanted.room
    new = room.state_root if span.departure is None else state.root_at(ctx.tx, room.room_nid, span.newest)
    if span.told is None:
        return States.of(ctx.tx, 0, new)
    if (span.departure is None and room.state_position <= span.told) or span.newest <= span.told:
        return States.of(ctx.tx, new, new)
    return States.of(ctx.tx, state.root_at(ctx.tx, room.room_nid, span.told), new)


def _timeline_json(ctx: Context, wanted: Wanted, span: _Span, timeline: Timeline) -> dict[str, bytes]:
    view = ctx.view(wanted.room)
    if span.told is None or span.expanded or timeline.limited:
        access = access_of(reader_of(view.user_id, wanted.room), wanted.room, span.departure)
        shown = render_aggregated(ctx.tx, view, access, timeline.events)
    else:
        shown = render(ctx.tx, view, timeline.events)
    since = ctx.since
    live = 0 if since is None else sum((event.position or 0) > since for event, _ in timeline.events)
    body = {
        "timeline": array(shown),
        "prev_batch": b'"s%d"' % timeline.prev_batch,
        "limited": b"true" if timeline.limited else b"false",
        "num_live": b"%d" % live,
    }
    if span.expanded:
        body["expanded_timeline" if ctx.is_stable else "unstable_expanded_timeline"] = b"true"
    return body


def _membership_is_new(ctx: Context, wanted: Wanted) -> bool:
    told = ctx.told_upto(wanted.record)
    return told is None or wanted.room.position > told


def _own_membership(ctx: Context, wanted: Wanted) -> dict[str, bytes]:
    """Whatever the user may not see of the room, they are told what has become of their membership."""
    own = events.of_nids(ctx.tx, [wanted.room.event_nid]).values()
    shown = [(event, wanted.room.membership) for event in own]
    return {
        "timeline": array(render(ctx.tx, ctx.view(wanted.room), shown)),
        "num_live": b"%d" % len(shown),
        "limited": b"false",
    }


def _known_limit(wanted: Wanted, span: _Span, timeline: Timeline | None) -> int:
    """How many of the newest events the client has at least, with this answer."""
    before = 0 if wanted.record is None else wanted.record.limit
    if timeline is None:
        return before
    if timeline.limited:
        return wanted.config.timeline_limit
    return EVERYTHING if span.told is None or span.expanded else before


def _record(ctx: Context, wanted: Wanted, *, limit: int, flags: int) -> None:
    if wanted.is_dm and not flags & OUTSIDE:
        flags |= DIRECT
    if wanted.room.membership in ("leave", "ban"):
        flags |= LEFT
    place = ctx.telling.place_of(wanted.config.required_state)
    ctx.telling.record(wanted.room.room_nid, RoomRecord(UP_TO_DATE, place, limit, flags))


def _bump(wanted: Wanted) -> int:
    return wanted.room.bump_position or wanted.room.since_position


def _common(ctx: Context, wanted: Wanted, bump_stamp: int) -> dict[str, bytes]:
    body = {"bump_stamp": b"%d" % max(0, bump_stamp)}
    if ctx.is_stable:
        body["membership"] = encode(wanted.room.membership)
        if wanted.match.lists:
            body["lists"] = encode([*wanted.match.lists])
    return body


def _unread(ctx: Context, wanted: Wanted, read_upto: ReadUpto) -> dict[str, bytes]:
    """The counts that the accepted form leaves to clients."""
    own = read_upto.get(wanted.room.room_nid, {})
    counts = read_unread(
        ctx.tx, ctx.asking.user_id, wanted.room, own, upto=ctx.upto, ignored=ctx.ignored
    ).threads.values()
    return {
        "notification_count": b"%d" % sum(each[0] for each in counts),
        "highlight_count": b"%d" % sum(each[1] for each in counts),
    }
