"""Full-text search in the rooms that a user is or was in. Spec: client-server API, "Server Side Search"."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from homeserver.core.filters import RoomEventMatcher
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.relations import REPLACE
from homeserver.core.requester import Requester
from homeserver.core.search_cursors import GroupKey, SearchCursor
from homeserver.core.search_terms import Query, rank
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.aggregations import Aggregator, relation_of_stored
from homeserver.services.client_events import View
from homeserver.services.history_access import Access, Standing, access_to, readable_root, seen
from homeserver.services.ignored_users import heard, ignored_by
from homeserver.services.search_results import ContextLimits, Found, render_results
from homeserver.services.sync.timeline import wanted
from homeserver.storage import events, memberships, search_texts, state
from homeserver.storage.memberships import RoomOfUser
from homeserver.storage.search_texts import Text

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 50

MOST_MATCHES: Final = 1_000
"""The newest matches that a search looks at; where there are more, ranking is among these and as many of the shortest.

A text that has what is asked for ranks the higher the less else there is in it.
"""

AT_ONCE: Final = 50
"""Matches whose events are read in one go."""

ENCRYPTION: Final = ("m.room.encryption", "")


class Criteria(msgspec.Struct, frozen=True):
    """What a client searches for: in events of these types that pass the filter."""

    query: Query
    types: frozenset[str]
    matcher: RoomEventMatcher
    by_rank: bool = True
    context: ContextLimits | None = None
    with_state: bool = False
    group_by: Sequence[GroupKey] = ()

    @property
    def limit(self) -> int:
        """How many results a page has."""
        return max(1, self.matcher.events.clamped_limit(DEFAULT_LIMIT, MAX_LIMIT))


class Search(msgspec.Struct, frozen=True):
    """Searches events."""

    database: Database
    clock: Clock

    async def events(self, requester: Requester, criteria: Criteria, next_batch: str | None) -> bytes:
        """A page of results: the value of `room_events` in the response.

        Errors: InvalidParam if `next_batch` is no token of a search.
        """
        cursor = None if next_batch is None else SearchCursor.parse(next_batch)
        return await self.database.read(
            search, requester.user_id, requester.device_id, criteria, cursor, now_ts=self.clock.now_ts()
        )


def search(
    tx: ReadTransaction,
    user_id: UserID,
    device_id: str | None,
    criteria: Criteria,
    cursor: SearchCursor | None,
    *,
    now_ts: int,
) -> bytes:
    """As `Search.events`."""
    if cursor is None:
        cursor = SearchCursor(tx.stream_row().position, 0)
    matches = _Matches(tx, user_id, criteria, cursor)
    found: list[Found] = []
    more: SearchCursor | None = None
    for offset, each in matches.visible():
        if len(found) == criteria.limit:
            more = SearchCursor(cursor.upto, offset, cursor.group_by, cursor.group)
            break
        found.append(each)
    return render_results(
        tx,
        user_id,
        device_id,
        found,
        context=criteria.context,
        with_state=criteria.with_state,
        group_by=criteria.group_by,
        highlights=criteria.query.words,
        count=max(matches.certain, len(found)),
        more=more,
        now_ts=now_ts,
    )


class _Matches:
    """The texts that match, the best first, and which of them the user may see.

    `certain` counts those that the user surely sees: of others, not even the number is told.
    """

    def __init__(
        self, tx: ReadTransaction, user_id: UserID, criteria: Criteria, cursor: SearchCursor
    ) -> None:
        self._tx = tx
        self._user_id = user_id
        self._criteria = criteria
        self._cursor = cursor
        self._rooms = {
            room.room_nid: room
            for room in memberships.rooms_of(tx, user_id)
            if _has_been_in(room) and criteria.matcher.rooms.matches(room.room_id)
        }
        self._ignored = ignored_by(tx, user_id)
        self._accesses: dict[RoomID, Access | None] = {}
        texts = self._texts()
        ranked = [(rank(text.terms.split(" "), criteria.query), text) for text in texts]
        if criteria.by_rank:
            ranked.sort(key=_best_first)
        self._ranked = ranked
        # An event and its edits have one position.
        self.certain = len({text.position for text in texts if self._is_certain(text)})

    def _texts(self) -> Collection[Text]:
        """What may be found, the newest first."""
        terms, rooms, upto = self._criteria.query.terms, self._rooms.keys(), self._cursor.upto
        newest = search_texts.find(self._tx, terms, rooms, upto=upto, most=MOST_MATCHES)
        if not self._criteria.by_rank or len(newest) < MOST_MATCHES:
            return newest
        shortest = search_texts.find_short(self._tx, terms, rooms, upto=upto, most=MOST_MATCHES)
        return {text.event_nid: text for text in (*newest, *shortest)}.values()

    def visible(self) -> Iterator[tuple[int, Found]]:
        """What the user may see from the cursor on, each with its place among all matches."""
        for start in range(self._cursor.offset, len(self._ranked), AT_ONCE):
            part = self._ranked[start : start + AT_ONCE]
            shown = self._shown([text for _, text in part])
            for offset, (score, text) in enumerate(part, start):
                if (found := shown.get(text.event_nid)) is not None:
                    yield offset, msgspec.structs.replace(found, rank=score)

    def _shown(self, texts: Sequence[Text]) -> dict[int, Found]:
        """Those of the texts that the user may see and wants to, by the numbers of their events.

        An edited event is found by the text of its latest edit, and by no other.
        """
        stored = events.of_nids(self._tx, [text.event_nid for text in texts])
        by_room: dict[int, dict[EventID, events.StoredEvent]] = {}
        for event in self._originals(stored.values()):
            # What has been redacted meanwhile is not found any more, whatever the index still says.
            if event.status == events.ACCEPTED and event.redacted_by is None and self._is_wanted(event):
                by_room.setdefault(event.room_nid, {})[event.event_id] = event
        shown: dict[int, Found] = {}
        for room_nid, listed in by_room.items():
            access = self._access(self._rooms[room_nid])
            if access is not None:
                originals = list(seen(self._tx, access, heard(list(listed.values()), self._ignored)))
                view = View(access.room_id, access.version, self._user_id, None, 0, with_room_id=True)
                edits = Aggregator(self._tx, view, access).edits([event for event, _ in originals])
                for event, membership in originals:
                    said = edits[event.event_id][0] if event.event_id in edits else event
                    shown[said.event_nid] = Found(access, event, membership, 0.0)
        return shown

    def _originals(self, stored: Collection[events.StoredEvent]) -> Iterator[events.StoredEvent]:
        """The events, and instead of edits what they edit."""
        edited: set[EventID] = set()
        for event in stored:
            relation = None if event.state_key is not None else relation_of_stored(event)
            if relation is not None and relation.rel_type == REPLACE:
                edited.add(relation.event_id)
            else:
                yield event
        yield from events.of_ids(self._tx, edited).values()

    def _is_wanted(self, event: events.StoredEvent) -> bool:
        cursor, room = self._cursor, self._rooms.get(event.room_nid)
        if room is None or event.position is None or event.type not in self._criteria.types:
            return False
        if cursor.group_by is not None:
            group = room.room_id if cursor.group_by == "room_id" else event.sender
            if group != cursor.group:
                return False
        return wanted(self._criteria.matcher, event)

    def _access(self, room: RoomOfUser) -> Access | None:
        """The user's way into the room; `None` if it is not to be searched, as rooms that are encrypted are not."""
        if room.room_id not in self._accesses:
            access = access_to(self._tx, self._user_id, room.room_id)
            if access is not None and (
                access.standing not in (Standing.MEMBER, Standing.FORMER)
                or state.get(self._tx, readable_root(self._tx, access), ENCRYPTION) is not None
            ):
                access = None
            self._accesses[room.room_id] = access
        return self._accesses[room.room_id]

    def _is_certain(self, text: Text) -> bool:
        room = self._rooms[text.room_nid]
        return room.membership == "join" and text.position >= room.since_position


def _has_been_in(room: RoomOfUser) -> bool:
    return room.membership == "join" or (room.was_joined and not room.forgotten)


def _best_first(ranked: tuple[float, Text]) -> tuple[float, int]:
    return -ranked[0], -ranked[1].position
