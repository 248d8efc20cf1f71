"""The sections of a sync response for rooms that the user is in, or has left."""

from collections.abc import Mapping, Sequence

import msgspec

from homeserver.core.json import JsonObject, encode
from homeserver.core.room_versions import get_room_version
from homeserver.core.splice import array, object_of
from homeserver.core.sticky_events import KEY as STICKY
from homeserver.services.aggregations import render_aggregated
from homeserver.services.client_events import render
from homeserver.services.history_access import BEGINNING, access_of, departure_of, reader_of
from homeserver.services.sync.context import SyncContext
from homeserver.services.sync.heroes import NAMING, heroes_of, holds_name, naming_events
from homeserver.services.sync.partial_rooms import cited_members, without_filled_in
from homeserver.services.sync.room_state import MEMBER, Roots, members_in, roots_of, state_nids
from homeserver.services.sync.sticky_events import sticky_json
from homeserver.services.sync.timeline import Timeline, read_timeline, related, wanted
from homeserver.services.sync.unread import read_unread
from homeserver.storage import events, state
from homeserver.storage.memberships import RoomOfUser
from homeserver.storage.sticky_events import StickyEvent


class RoomExtras(msgspec.Struct, frozen=True):
    """What else there is to say of a room, as JSON: its new ephemeral events and account data.

    `read_upto` are the positions that the user has read up to, by thread (empty: unthreaded); `has_read_on` tells that
    one of them is new, though no receipt is shown. `sticky` are the sticky events that are new to the client.
    """

    ephemeral: list[bytes]
    account_data: list[bytes]
    read_upto: Mapping[str, int]
    sticky: Sequence[StickyEvent] = ()
    has_read_on: bool = False


def joined_room(context: SyncContext, room: RoomOfUser, extras: RoomExtras) -> bytes | None:
    """The room in the `join` section; `None` if there is nothing to say of it."""
    request = context.request
    since = _client_has(request.since, room)
    is_new = since is None
    if is_new or room.last_position > (since or 0):
        timeline = _timeline(context, room, since, newest=context.upto)
    else:
        timeline = Timeline([], limited=False, prev_batch=context.upto)
    whole = request.full_state or is_new
    roots = roots_of(
        context.tx, room, timeline, since=None if whole else since, upto=context.upto, is_current=True
    )
    body: dict[str, bytes] = {}
    heroes: list[str] = []
    summary = None
    if whole or _summary_changed(context, room, timeline, roots):
        summary, heroes = _summary(context, room)
    section = _state(context, room, timeline, roots, heroes)
    sticky = sticky_json(context.tx, context.view(room), extras.sticky, timeline, ignored=context.ignored)
    is_empty = not (
        summary
        or timeline.events
        or timeline.limited
        or section
        or extras.ephemeral
        or extras.account_data
        or extras.has_read_on
        or sticky
    )
    if is_empty and not whole:
        return None
    if summary is not None:
        body["summary"] = summary
    aggregated = is_new or timeline.limited
    body["timeline"] = _timeline_json(context, room, timeline, aggregated=aggregated)
    body["state_after" if request.use_state_after else "state"] = object_of({"events": array(section)})
    body["ephemeral"] = object_of({"events": array(extras.ephemeral)})
    body["account_data"] = object_of({"events": array(extras.account_data)})
    if sticky:
        body[STICKY] = object_of({"events": array(sticky)})
    body.update(_unread(context, room, extras.read_upto))
    return object_of(body)


def left_room(context: SyncContext, room: RoomOfUser, extras: RoomExtras) -> bytes:
    """The room in the `leave` section: what the user may see up to leaving, and the end of the membership itself.

    Somebody who left and was banned later sees the ban, but nothing of what happened between the two.
    """
    since = context.request.since
    departure = _departure(context, room)
    if departure is None or (since is not None and departure <= since):
        timeline, section = Timeline([], limited=False, prev_batch=context.upto), list[bytes]()
    else:
        known = _joined_at(context, room)
        timeline = _timeline(context, room, known, newest=departure)
        state_since = None if context.request.full_state else known
        roots = roots_of(context.tx, room, timeline, since=state_since, upto=departure, is_current=False)
        section = _state(context, room, timeline, roots, [])
    _add_own_membership(context, room, timeline)
    name = "state_after" if context.request.use_state_after else "state"
    return object_of(
        {
            "timeline": _timeline_json(
                context, room, timeline, aggregated=timeline.limited, departure=departure
            ),
            name: object_of({"events": array(section)}),
            "account_data": object_of({"events": array(extras.account_data)}),
        }
    )


def _departure(context: SyncContext, room: RoomOfUser) -> int | None:
    """Up to where the user may see the room; `None` for nothing, since the user was only ever invited."""
    if not room.was_joined:
        return None
    return departure_of(context.tx, context.request.user_id, room)


def _add_own_membership(context: SyncContext, room: RoomOfUser, timeline: Timeline) -> None:
    """Whatever the user may not see of the room, they are told what has become of their membership."""
    matcher = context.request.filter.timeline
    if any(event.event_nid == room.event_nid for event, _ in timeline.events):
        return
    own = events.of_nids(context.tx, [room.event_nid]).get(room.event_nid)
    if own is not None and matcher.rooms.matches(room.room_id) and wanted(matcher, own):
        timeline.events.append((own, room.membership))


def _client_has(since: int | None, room: RoomOfUser) -> int | None:
    """The position from which the client needs news of the room; `None` if it needs all of it."""
    return None if since is None or room.since_position > since else since


def _joined_at(context: SyncContext, room: RoomOfUser) -> int | None:
    """As `_client_has`, for a room that the user has left meanwhile."""
    since = context.request.since
    if since is None:
        return None
    root = state.root_at(context.tx, room.room_nid, since)
    nid = state.get(context.tx, root, (MEMBER, context.request.user_id))
    if nid is None:
        return None
    version = get_room_version(room.version)
    member = events.parsed(context.tx, [nid], version)[nid]
    return since if member.content.get("membership") == "join" else None


def _timeline(context: SyncContext, room: RoomOfUser, since: int | None, *, newest: int) -> Timeline:
    matcher = context.request.filter.timeline
    after = BEGINNING if since is None else since
    if not matcher.rooms.matches(room.room_id):
        return Timeline([], limited=False, prev_batch=newest)
    return read_timeline(
        context.tx,
        reader_of(context.request.user_id, room),
        matcher,
        after=after,
        newest=newest,
        ignored=context.ignored,
    )


def _timeline_json(
    context: SyncContext,
    room: RoomOfUser,
    timeline: Timeline,
    *,
    aggregated: bool,
    departure: int | None = None,
) -> bytes:
    """The section; `departure` is where the user left the room, `None` for members."""
    tx, view = context.tx, context.view(room)
    shown = (
        render_aggregated(
            tx, view, access_of(reader_of(view.user_id, room), room, departure), timeline.events
        )
        if aggregated
        else render(tx, view, timeline.events)
    )
    return object_of(
        {
            "events": array(shown),
            "limited": b"true" if timeline.limited else b"false",
            "prev_batch": b'"s%d"' % timeline.prev_batch,
        }
    )


def _state(
    context: SyncContext, room: RoomOfUser, timeline: Timeline, roots: Roots, heroes: list[str]
) -> list[bytes]:
    matcher = context.request.filter.state
    if not matcher.rooms.matches(room.room_id) or matcher.events.matches_none:
        return []
    lazy = matcher.lazy_load_members
    needed: set[str] = set()
    known: frozenset[str] = frozenset()
    if lazy:
        needed = {event.sender for event, _ in timeline.events} | set(heroes)
        if roots.since == 0:
            needed.add(context.request.user_id)
        if not matcher.include_redundant_members:
            known = context.request.sent_members.get(room.room_id, frozenset())
    nids = state_nids(
        context.tx,
        roots,
        {event.event_nid for event, _ in timeline.events},
        after=context.request.use_state_after,
        lazy=lazy,
        needed_members=needed,
        known_members=known,
    )
    if lazy:
        nids = without_filled_in(context.tx, room, nids, roots, since=context.request.since, needed=needed)
        senders = {event.sender for event, _ in timeline.events}
        absent = {each for each in senders if each not in known and (MEMBER, each) not in nids}
        if absent:
            nids |= cited_members(context.tx, room, (event for event, _ in timeline.events), absent)
        shown = (event.state_key for event, _ in timeline.events if event.type == MEMBER and event.state_key)
        context.new_members[room.room_id] = members_in(nids) | frozenset(shown)
    if not nids:
        return []
    stored = events.of_nids(context.tx, nids.values())
    shown_state = [
        stored[nid]
        for key, nid in sorted(nids.items())
        if matcher.matches_all or matcher.matches(key[0], stored[nid].sender, has_url=False)
    ]
    passed = related(context.tx, matcher, shown_state, newest=context.upto)
    return render(context.tx, context.view(room), [(event, None) for event in passed])


def _summary_changed(context: SyncContext, room: RoomOfUser, timeline: Timeline, roots: Roots) -> bool:
    """Whether members have changed, or what the room is called by."""
    if roots.since != roots.end and any(
        key[0] == MEMBER or key in NAMING for key in state.difference(context.tx, roots.since, roots.end)
    ):
        return True
    # A redaction empties a name, and changes no state. Who is not shown it keeps the name, too.
    redactions = {event.event_id for event, _ in timeline.events if event.type == "m.room.redaction"}
    return bool(redactions) and any(
        event.redacted_by in redactions for event in naming_events(context.tx, room.state_root)
    )


def _summary(context: SyncContext, room: RoomOfUser) -> tuple[bytes, list[str]]:
    """Member counts, and the heroes where the room has no name of its own."""
    counts: JsonObject = {
        "m.joined_member_count": room.joined_members,
        "m.invited_member_count": room.invited_members,
    }
    tx = context.tx
    heroes: list[str] = []
    if not any(map(holds_name, naming_events(tx, room.state_root))):
        heroes = heroes_of(tx, room.room_nid, context.request.user_id)
        counts["m.heroes"] = [*heroes]
    return encode(counts), heroes


def _unread(context: SyncContext, room: RoomOfUser, read_upto: Mapping[str, int]) -> dict[str, bytes]:
    """Unread counts; by thread if the client asked for that."""
    counts = read_unread(
        context.tx, context.request.user_id, room, read_upto, upto=context.upto, ignored=context.ignored
    )
    context.unread[room.room_id] = counts
    return counts.sections(by_thread=context.request.filter.timeline.unread_thread_notifications)
