"""The events of one room as state resolution asks for them."""

from collections.abc import Collection, Iterable, Mapping

import attrs
import msgspec

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import RoomVersion
from homeserver.core.state_resolution import AuthLink
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import auth_edges, events
from homeserver.storage.auth_edges import Place
from homeserver.storage.events import Placed


class OwnEvent(msgspec.Struct, frozen=True):
    """An event that this transaction stores, and cannot read back yet."""

    event: Event
    place: Place
    root_after: int
    status: int


@attrs.frozen(slots=True)
class EventGraph:
    """Events by ID and by number, as far as the room's states and auth chains go; `own` are not to be read yet."""

    tx: ReadTransaction
    room_nid: int
    version: RoomVersion
    own: Mapping[EventID, OwnEvent] = attrs.field(factory=dict)
    _places: dict[EventID, Place] = attrs.field(factory=dict)

    def learn(self, placed: Iterable[Placed]) -> None:
        """These have been read."""
        self._places.update(
            (each.event_id, Place(each.event_nid, each.generation or 0, each.status)) for each in placed
        )

    def places(self, event_ids: Collection[EventID]) -> dict[EventID, Place]:
        """Where those of the events stand that are known."""
        wanted = {each for each in event_ids if each not in self.own and each not in self._places}
        if wanted:
            self._places.update(auth_edges.places(self.tx, wanted))
        found = {event_id: self.own[event_id].place for event_id in event_ids if event_id in self.own}
        return found | {
            event_id: self._places[event_id] for event_id in event_ids if event_id in self._places
        }

    def ids_of(self, event_nids: Collection[int]) -> dict[int, EventID]:
        """The events with these numbers."""
        own = {each.place.event_nid: event_id for event_id, each in self.own.items()}
        found = {nid: own[nid] for nid in event_nids if nid in own}
        if others := set(event_nids) - found.keys():
            found |= events.ids_of(self.tx, others)
        return found

    def fetch(self, event_ids: Collection[EventID]) -> dict[EventID, Event]:
        """The events; those that are not known are left out."""
        found = {event_id: self.own[event_id].event for event_id in event_ids if event_id in self.own}
        nids = {
            place.event_nid: event_id
            for event_id, place in self.places([each for each in event_ids if each not in found]).items()
        }
        parsed = events.parsed(self.tx, list(nids), self.version)
        return found | {nids[nid]: self._as_it_stands(event) for nid, event in parsed.items()}

    def _as_it_stands(self, event: Event) -> Event:
        """What is remembered of an event may be from before it got its place, and was rejected there."""
        is_rejected = self._places[event.event_id].status == events.REJECTED
        return event if event.rejected == is_rejected else attrs.evolve(event, rejected=is_rejected)

    def by_nids(self, event_nids: Collection[int]) -> dict[int, Event]:
        """The events with these numbers."""
        own = {each.place.event_nid: each.event for each in self.own.values()}
        others = events.parsed(self.tx, [nid for nid in event_nids if nid not in own], self.version)
        return {nid: own[nid] if nid in own else others[nid] for nid in event_nids}

    def links(self, event_ids: Collection[EventID]) -> dict[EventID, AuthLink]:
        """Their places in the graph of auth events."""
        places = self.places(event_ids)
        return {
            event_id: AuthLink(places[event_id].generation, event.auth_events)
            for event_id, event in self.fetch(event_ids).items()
        }

    def cited_by(self, event_ids: Collection[EventID]) -> set[EventID]:
        """The state events that cite at least one of these."""
        nids = [place.event_nid for place in self.places(event_ids).values()]
        found = set(auth_edges.cited_by(self.tx, self.room_nid, nids)) if nids else set()
        wanted = set(event_ids)
        return found | {
            event_id
            for event_id, each in self.own.items()
            if each.event.is_state and not wanted.isdisjoint(each.event.auth_events)
        }
