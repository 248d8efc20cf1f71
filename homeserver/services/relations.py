"""What relates to an event. Spec: client-server API, "Forming relationships between events"."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.relations import Relative, is_valid
from homeserver.core.requester import Requester
from homeserver.core.splice import array, object_of
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.aggregations import relation_of_stored, render_aggregated
from homeserver.services.client_events import View
from homeserver.services.history_access import BEGINNING, NEWEST, Access, access_to, newest_readable, seen
from homeserver.services.ignored_users import ignored_by
from homeserver.services.timelines import Direction
from homeserver.storage import events, relations
from homeserver.storage.events import StoredEvent
from homeserver.storage.relations import Child

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 1_000

RECURSION_DEPTH: Final = 3
"""How many steps beyond the children themselves are followed."""

MOST_FOLLOWED: Final = 10_000
"""Related events that are gathered for one answer if those related indirectly are wanted, too."""

MOST_SCANNED: Final = 1_000
"""Children looked through for one page that has none to show yet."""


class RelatedRequest(msgspec.Struct, frozen=True):
    """The related events that a client asks for; `None` stands for any type of relation or event.

    `start` and `stop` are the positions of its tokens. `recurse` is `None` if the client says nothing of it.
    """

    room_id: RoomID
    event_id: EventID
    rel_type: str | None
    event_type: str | None
    direction: Direction
    start: int | None
    stop: int | None
    limit: int
    recurse: bool | None

    @property
    def bounds(self) -> tuple[int, int]:
        """The positions that the answer stays between: after the first, up to the second."""
        backwards = self.direction is Direction.BACKWARDS
        after, newest = (self.stop, self.start) if backwards else (self.start, self.stop)
        return BEGINNING if after is None else after, NEWEST if newest is None else newest

    def wants(self, child: Child) -> bool:
        """Whether the types are those that are asked for."""
        return self.rel_type in (None, child.rel_type) and self.event_type in (None, child.type)


class RelatedPage(msgspec.Struct, frozen=True):
    """Events in the order of the direction; `reached` is the position to go on from, `None` at the end."""

    events: list[tuple[StoredEvent, str]]
    reached: int | None


class Relations(msgspec.Struct, frozen=True):
    """Finds the events that relate to others."""

    database: Database
    clock: Clock

    async def of(self, requester: Requester, request: RelatedRequest) -> bytes:
        """The body of a response with `chunk`, and perhaps `next_batch`, `prev_batch` and `recursion_depth`.

        Relationships that break the rules of their type are left out. Events that relate indirectly are those that do
        so by way of events of the types.
        Errors: NotFound if there is no such event in the room, or the requester may not see it.
        """
        return await self.database.read(
            read_related, request, requester.user_id, requester.device_id, now_ts=self.clock.now_ts()
        )


def read_related(
    tx: ReadTransaction, request: RelatedRequest, user_id: UserID, device_id: str | None, *, now_ts: int
) -> bytes:
    """As `Relations.of`."""
    access = access_to(tx, user_id, request.room_id)
    parent = events.of(tx, request.event_id)
    if (
        access is None
        or parent is None
        or parent.room_nid != access.room_nid
        or not seen(tx, access, [parent])
    ):
        raise NotFound("There is no such event, or you may not see it")
    page = _read_page(tx, access, request, _Parents(tx, parent))
    view = View(access.room_id, access.version, user_id, device_id, now_ts, with_room_id=True)
    body = {"chunk": array(render_aggregated(tx, view, access, page.events))}
    if page.reached is not None:
        body["next_batch"] = b'"s%d"' % page.reached
    if request.start is not None:
        body["prev_batch"] = b'"s%d"' % request.start
    if request.recurse is not None:
        body["recursion_depth"] = b"%d" % (RECURSION_DEPTH if request.recurse else 0)
    return object_of(body)


class _Parents:
    """The parents of the events that are looked at, as far as the rules of relationships want to know them."""

    def __init__(self, tx: ReadTransaction, first: StoredEvent) -> None:
        self._tx = tx
        self._room_nid = first.room_nid
        self._known: dict[EventID, Relative | None] = {first.event_id: _relative(first)}

    def valid(self, children: Sequence[Child]) -> list[Child]:
        """Those of the children whose relationships count."""
        missing = {child.parent_id for child in children} - self._known.keys()
        if missing:
            found = events.of_ids(self._tx, missing)
            for event_id in missing:
                event = found.get(event_id)
                is_here = event is not None and event.room_nid == self._room_nid
                self._known[event_id] = _relative(event) if event is not None and is_here else None
        return [child for child in children if self._is_valid(child)]

    def _is_valid(self, child: Child) -> bool:
        parent = self._known[child.parent_id]
        return parent is not None and is_valid(parent, relative_of(child))


def relative_of(child: Child) -> Relative:
    """The child as the rules of relationships look at it; whether it is state is part of whether it is sound."""
    return Relative(
        child.type, child.sender, is_state=False, rel_type=child.rel_type, is_sound=bool(child.is_sound)
    )


def _relative(event: StoredEvent) -> Relative:
    relation = relation_of_stored(event)
    rel_type = None if relation is None else relation.rel_type
    return Relative(event.type, event.sender, is_state=event.state_key is not None, rel_type=rel_type)


def _read_page(
    tx: ReadTransaction, access: Access, request: RelatedRequest, parents: _Parents
) -> RelatedPage:
    """Up to as many events as are asked for; fewer without being the last, if few of those looked through count."""
    after, newest = request.bounds
    newest = min(newest, newest_readable(tx, access))
    source = _gathered(tx, access.room_nid, request, newest) if request.recurse else None
    ignored = ignored_by(tx, access.reader.user_id)
    found: list[tuple[StoredEvent, str]] = []
    scanned = 0
    backwards = request.direction is Direction.BACKWARDS
    while after < newest:
        most = request.limit - len(found) + 1
        if source is None:
            children = _children(tx, access.room_nid, request, after=after, newest=newest, most=most)
        else:
            children = [child for child in source if after < child.position <= newest][:most]
        heard = [child for child in parents.valid(children) if child.sender not in ignored]
        shown = _shown(tx, access, heard)
        if len(found) + len(shown) > request.limit:
            found += shown[: request.limit - len(found)]
            return RelatedPage(found, _beyond(_position(found[-1][0]), backwards=backwards))
        found += shown
        if len(children) < most:
            break
        reached = _beyond(children[-1].position, backwards=backwards)
        scanned += len(children)
        if scanned >= max(MOST_SCANNED, request.limit):
            return RelatedPage(found, reached)
        after, newest = (after, reached) if backwards else (reached, newest)
    return RelatedPage(found, None)


def _children(
    tx: ReadTransaction, room_nid: int, request: RelatedRequest, *, after: int, newest: int, most: int
) -> list[Child]:
    return relations.page(
        tx,
        room_nid,
        request.event_id,
        rel_type=request.rel_type,
        type=request.event_type,
        after=after,
        newest=newest,
        most=most,
        order="newest first" if request.direction is Direction.BACKWARDS else "oldest first",
    )


def _gathered(tx: ReadTransaction, room_nid: int, request: RelatedRequest, newest: int) -> list[Child]:
    """All of the types that relates to the event, also indirectly, up to `newest`, in the order of the direction.

    "Events that would match the filter, but whose only relation to the original given event is through a non-matching
    intermediate event, will not be included."

    Looking back, what is newer than the page has no part in it, so that each page is gathered anew from where the
    one before ended.
    """
    level = _children(tx, room_nid, request, after=BEGINNING, newest=newest, most=MOST_FOLLOWED)
    gathered = {child.event_id: child for child in level}
    for _ in range(RECURSION_DEPTH):
        most = MOST_FOLLOWED - len(gathered)
        if not level or most <= 0:
            break
        parent_ids = [child.event_id for child in level]
        below = relations.of_parents(tx, room_nid, parent_ids, newest=newest, most=most)
        # An event can relate to one that comes after it, and so to its own descendants.
        level = [child for child in below if child.event_id not in gathered and request.wants(child)]
        gathered |= {child.event_id: child for child in level}
    gathered.pop(request.event_id, None)
    backwards = request.direction is Direction.BACKWARDS
    return sorted(gathered.values(), key=lambda child: child.position, reverse=backwards)


def _shown(tx: ReadTransaction, access: Access, children: Iterable[Child]) -> list[tuple[StoredEvent, str]]:
    """Those of the children that the reader may see, in their order."""
    event_ids = [child.event_id for child in children]
    if not event_ids:
        return []
    stored = events.of_ids(tx, event_ids)
    return seen(tx, access, [stored[event_id] for event_id in event_ids if event_id in stored])


def _beyond(position: int, *, backwards: bool) -> int:
    return position - 1 if backwards else position


def _position(event: StoredEvent) -> int:
    if event.position is None:
        raise ValueError(f"{event.event_id} is not part of the timeline")
    return event.position
