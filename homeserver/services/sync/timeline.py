"""The window of a room's timeline that a sync shows."""

from collections.abc import Collection, Sequence

import msgspec

from homeserver.core.filters import RoomEventMatcher
from homeserver.database.transactions import ReadTransaction
from homeserver.services.ignored_users import heard
from homeserver.services.visibility import Reader, visible
from homeserver.storage import events, history_gaps, relations
from homeserver.storage.events import StoredEvent

DEFAULT_LIMIT = 10
MAX_LIMIT = 100

_PAGES = 5
"""How often more events are read when a filter or the visibility leaves none of those that were read."""


class _HasUrl(msgspec.Struct, gc=False):
    url: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Content(msgspec.Struct, gc=False):
    content: _HasUrl


_content = msgspec.json.Decoder(_Content)


class Timeline(msgspec.Struct, frozen=True):
    """Events in their order, each with the reader's membership at it.

    `limited`: there are more before them, after the point where the window may begin, here or elsewhere. `prev_batch`
    is the position that leads to those.
    """

    events: list[tuple[StoredEvent, str]]
    limited: bool
    prev_batch: int


def wanted(matcher: RoomEventMatcher, event: StoredEvent) -> bool:
    """Whether the event passes the filter, relations apart."""
    if matcher.matches_all:
        return True
    has_url = matcher.contains_url is not None and _content.decode(event.pdu).content.url is not msgspec.UNSET
    return matcher.matches(event.type, event.sender, has_url=has_url)


def passing(
    tx: ReadTransaction, matcher: RoomEventMatcher, stored: Sequence[StoredEvent], *, newest: int
) -> Sequence[StoredEvent]:
    """Those of the events that pass the filter; of events that relate to them, those up to `newest` count."""
    if matcher.matches_all:
        return stored
    return related(tx, matcher, [event for event in stored if wanted(matcher, event)], newest=newest)


def related(
    tx: ReadTransaction, matcher: RoomEventMatcher, stored: Sequence[StoredEvent], *, newest: int
) -> Sequence[StoredEvent]:
    """Those of the events to which others relate, up to the position `newest`, as the filter wants it."""
    if matcher.relations is None or not stored:
        return stored
    found = relations.related(
        tx,
        [event.event_nid for event in stored],
        rel_types=matcher.relations.rel_types,
        senders=matcher.relations.senders,
        newest=newest,
    )
    return [event for event in stored if event.event_id in found]


def read_timeline(
    tx: ReadTransaction,
    reader: Reader,
    matcher: RoomEventMatcher,
    *,
    after: int,
    newest: int,
    ignored: Collection[str] = (),
) -> Timeline:
    """The newest events with `after < position <= newest` that the reader may see and the filter lets pass.

    It begins after the last gap of the room's history, if there is one. What the `ignored` users have sent is left out,
    but for state.
    """
    gap = history_gaps.newest(tx, reader.room_nid, after=after, upto=newest)
    if gap is not None:
        after = gap - 1
    limit = DEFAULT_LIMIT if matcher.events.limit is None else min(matcher.events.limit, MAX_LIMIT)
    found: list[tuple[StoredEvent, str]] = []
    most = limit + 1
    upto = newest
    exhausted = False
    for _ in range(_PAGES):
        page = events.page(tx, reader.room_nid, after=after, newest=upto, most=most, order="newest first")
        wanted_here = passing(tx, matcher, page, newest=newest)
        found += visible(tx, reader, heard(wanted_here, ignored) if ignored else wanted_here)
        exhausted = len(page) < most
        if exhausted or len(found) > limit:
            break
        upto = _position(page[-1]) - 1
        most = max(most, 50)
    limited = not exhausted or len(found) > limit
    found = found[:limit]
    if gap is not None and not limited:
        # What is missing is fetched for whoever reads on from here.
        return Timeline(found[::-1], limited=True, prev_batch=after)
    beginning = upto if limited else newest
    prev_batch = _position(found[-1][0]) - 1 if found else beginning
    return Timeline(found[::-1], limited, prev_batch)


def _position(event: StoredEvent) -> int:
    if event.position is None:
        raise ValueError(f"{event.event_id} is not part of the timeline")
    return event.position
