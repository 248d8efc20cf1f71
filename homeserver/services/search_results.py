"""What a search has found, as clients are told it. Transaction functions."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, encode
from homeserver.core.search_cursors import GroupKey, SearchCursor
from homeserver.core.splice import array, keyed, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.services.aggregations import render_aggregated
from homeserver.services.client_events import View, render
from homeserver.services.history_access import BEGINNING, NEWEST, Access, readable_root
from homeserver.services.timelines import EVERYTHING, Direction, position_of, read_up_to_gap
from homeserver.storage import events, state
from homeserver.storage.events import StoredEvent


class ContextLimits(msgspec.Struct, frozen=True):
    """How many events before and after each result are wanted, and whether their senders' profiles."""

    before: int
    after: int
    with_profiles: bool


class Found(msgspec.Struct, frozen=True):
    """A result, with the user's way into its room and membership at it."""

    access: Access
    event: StoredEvent
    membership: str
    rank: float


def render_results(
    tx: ReadTransaction,
    user_id: UserID,
    device_id: str | None,
    found: Sequence[Found],
    *,
    context: ContextLimits | None,
    with_state: bool,
    group_by: Iterable[GroupKey],
    highlights: Sequence[str],
    count: int,
    more: SearchCursor | None,
    now_ts: int,
) -> bytes:
    """The value of `room_events`; `more` is where the next page begins, `None` if there is none."""
    views = {
        each.access.room_id: View(
            each.access.room_id, each.access.version, user_id, device_id, now_ts, with_room_id=True
        )
        for each in found
    }
    body = {
        "count": b"%d" % count,
        "highlights": encode(list(highlights)),
        "results": array(_result(tx, views[each.access.room_id], each, context) for each in found),
    }
    if more is not None:
        body["next_batch"] = encode(more.to_token())
    groups = {key: _groups(key, found, more) for key in dict.fromkeys(group_by)}
    if groups:
        body["groups"] = keyed(groups)
    if with_state:
        accesses = {each.access.room_id: each.access for each in found}
        body["state"] = keyed(
            {room_id: _state(tx, views[room_id], access) for room_id, access in accesses.items()}
        )
    return object_of(body)


def _result(tx: ReadTransaction, view: View, found: Found, context: ContextLimits | None) -> bytes:
    body = {
        "rank": b"%.6f" % found.rank,
        "result": render_aggregated(tx, view, found.access, [(found.event, found.membership)])[0],
    }
    if context is not None:
        body["context"] = _context(tx, view, found, context)
    return object_of(body)


def _context(tx: ReadTransaction, view: View, found: Found, limits: ContextLimits) -> bytes:
    position = position_of(found.event)
    # What is missing here is fetched for who goes on from the tokens.
    before = read_up_to_gap(
        tx,
        found.access,
        EVERYTHING,
        Direction.BACKWARDS,
        after=BEGINNING,
        newest=position - 1,
        limit=limits.before,
    )
    after = read_up_to_gap(
        tx, found.access, EVERYTHING, Direction.FORWARDS, after=position, newest=NEWEST, limit=limits.after
    )
    body = {
        "start": b'"s%d"' % before.reached,
        "end": b'"s%d"' % after.reached,
        "events_before": array(render_aggregated(tx, view, found.access, before.events)),
        "events_after": array(render_aggregated(tx, view, found.access, after.events)),
    }
    if limits.with_profiles:
        senders = {event.sender for event, _ in (*before.events, *after.events)}
        body["profile_info"] = keyed(_profiles(tx, found, {*senders, found.event.sender}))
    return object_of(body)


def _profiles(tx: ReadTransaction, found: Found, senders: set[UserID]) -> Mapping[str, bytes]:
    """What the users' membership events said of them when the result was sent."""
    if found.event.state_root is None:
        return {}
    nids = state.members(tx, found.event.state_root, senders)
    members = events.parsed(tx, list(nids.values()), found.access.version)
    profiles: dict[str, bytes] = {}
    for user_id, nid in nids.items():
        content = members[nid].content
        profile: JsonObject = {
            key: value for key in ("displayname", "avatar_url") if isinstance(value := content.get(key), str)
        }
        profiles[user_id] = encode(profile)
    return profiles


def _groups(key: GroupKey, found: Iterable[Found], more: SearchCursor | None) -> bytes:
    """The results by room or sender, in the order in which the groups appear."""
    members: dict[str, list[str]] = {}
    for each in found:
        group: str = each.access.room_id if key == "room_id" else each.event.sender
        members.setdefault(group, []).append(each.event.event_id)
    groups: dict[str, bytes] = {}
    for order, (group, event_ids) in enumerate(members.items()):
        body = {"order": b"%d" % order, "results": encode(list(event_ids))}
        if more is not None:
            body["next_batch"] = encode(SearchCursor(more.upto, more.offset, key, group).to_token())
        groups[group] = object_of(body)
    return keyed(groups)


def _state(tx: ReadTransaction, view: View, access: Access) -> bytes:
    """The state of the room as the user may know it."""
    nids = state.whole(tx, readable_root(tx, access))
    stored = events.of_nids(tx, nids.values())
    return array(render(tx, view, [(stored[nid], None) for _, nid in sorted(nids.items())]))
