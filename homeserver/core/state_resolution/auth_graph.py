"""The graph that `auth_events` make, and the parts of it that a resolution needs.

Every event has a *generation*: 0 if it cites no auth events, else one more than the highest generation of
those that it cites. An event can only be reached from events of higher generations, so that a walk that takes
the highest generation first meets each event after all that lead to it, and knows when it may stop. Unlike
`depth`, which is whatever the sender says, a generation is computed by this server, and cannot lie.

Spec: room version 2, "State resolution", "Definitions".
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs
import msgspec

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.state_resolution.events import Fetch, KnownEvents, LookUp


class AuthLink(msgspec.Struct, frozen=True):
    """An event's place in the graph: its generation, and the events that it cites."""

    generation: int
    auth_events: tuple[EventID, ...]


Links: TypeAlias = Callable[[Collection[EventID]], Mapping[EventID, AuthLink]]
"""Gives the places of events in the graph: at least of those that are asked for."""

Settled: TypeAlias = Callable[[Collection[EventID]], Collection[EventID]]
"""Gives those of some events that all states rest on: unconflicted events, and those in their auth chains."""

CitedBy: TypeAlias = Callable[[Collection[EventID]], Iterable[EventID]]
"""Gives the state events of the room that have at least one of some events in their `auth_events`."""


def links_from(fetch: Fetch) -> Links:
    """Links for callers who do not store generations: computed from the events, all the way down.

    The first question about an event fetches its whole auth chain, level by level; who stores generations
    need not do that.
    """
    known: dict[EventID, AuthLink] = {}

    def links(event_ids: Collection[EventID]) -> Mapping[EventID, AuthLink]:
        cited: dict[EventID, tuple[EventID, ...]] = {}
        level = {event_id for event_id in event_ids if event_id not in known}
        while level:
            events = fetch(sorted(level))
            cited.update((event_id, events[event_id].auth_events) for event_id in level)
            below = {event_id for found in level for event_id in cited[found]}
            level = {event_id for event_id in below if event_id not in known and event_id not in cited}
        _add_generations(known, cited)
        return known

    return links


def _add_generations(known: dict[EventID, AuthLink], cited: Mapping[EventID, tuple[EventID, ...]]) -> None:
    """Make `known` know all of `cited`, each event after those that it cites."""
    entered: set[EventID] = set()
    stack = list(cited)
    while stack:
        event_id = stack[-1]
        if event_id in known:
            stack.pop()
            continue
        unknown = [auth_event for auth_event in cited[event_id] if auth_event not in known]
        if not unknown:
            generation = 1 + max((known[auth_event].generation for auth_event in cited[event_id]), default=-1)
            known[event_id] = AuthLink(generation, cited[event_id])
            stack.pop()
        elif event_id in entered:
            # Cannot come from events that were accepted one after the other.
            raise ValueError(f"the auth events of {event_id} lead back to it")
        else:
            entered.add(event_id)
            stack += unknown


@attrs.frozen(slots=True)
class _Places:
    """Places in the graph that have been asked for."""

    links: Links
    _known: dict[EventID, AuthLink] = attrs.field(factory=dict)

    def load(self, event_ids: Iterable[EventID]) -> None:
        wanted = sorted({event_id for event_id in event_ids if event_id not in self._known})
        if wanted:
            found = self.links(wanted)
            self._known.update((event_id, found[event_id]) for event_id in wanted)

    def load_cited_by(self, event_ids: Iterable[EventID]) -> None:
        self.load(cited for event_id in event_ids for cited in self._known[event_id].auth_events)

    def __getitem__(self, event_id: EventID) -> AuthLink:
        return self._known[event_id]

    def __contains__(self, event_id: EventID) -> bool:
        return event_id in self._known


def auth_difference(
    conflicted_sets: Sequence[Collection[EventID]], settled: Settled, links: Links
) -> set[EventID]:
    """The events that some of the states rest on, but not all; without the conflicted events themselves.

    `conflicted_sets` has, for each state, its events for the conflicted entries. The walk goes down from
    these, and stops where all that is left belongs to all states; `settled` is asked about what it has found.

    A state is taken to rest on its own events, too: what all states agree on is in no difference. (To the
    letter, an unconflicted event would be if some states cite it and others don't. Other servers read it as
    is done here, and the same outcome everywhere matters more.)

    Spec: room version 2, "State resolution", "Auth difference".
    """
    found = _reached_from_some(conflicted_sets, _Places(links)).difference(*conflicted_sets)
    return found.difference(settled(found)) if found else found


def _reached_from_some(sets: Sequence[Collection[EventID]], places: _Places) -> set[EventID]:
    """The events in or below some of the sets, but not all; what is below all sets need not be visited."""
    everywhere = (1 << len(sets)) - 1
    # By event, a bit for each set from which it is known to be reached. As the highest generation comes
    # first, all that lead to an event have been visited before it.
    reached: dict[EventID, int] = {}
    for index, event_ids in enumerate(sets):
        for event_id in event_ids:
            reached[event_id] = reached.get(event_id, 0) | 1 << index
    places.load(reached)
    queue = [(-places[event_id].generation, event_id) for event_id in reached]
    heapq.heapify(queue)
    open_questions = sum(bits != everywhere for bits in reached.values())
    result = set()
    # Whose citations have not been looked up yet.
    fresh = list(reached)
    while open_questions:
        _, event_id = heapq.heappop(queue)
        bits = reached[event_id]
        if bits != everywhere:
            open_questions -= 1
            result.add(event_id)
        if any(cited not in places for cited in places[event_id].auth_events):
            places.load_cited_by(fresh)
            fresh = []
        for cited in dict.fromkeys(places[event_id].auth_events):
            before = reached.get(cited)
            after = bits if before is None else bits | before
            reached[cited] = after
            if before is None:
                heapq.heappush(queue, (-places[cited].generation, cited))
                fresh.append(cited)
                open_questions += after != everywhere
            elif before != everywhere:
                open_questions -= after == everywhere
    return result


def settled_by_walking(unconflicted: Collection[EventID], links: Links) -> Settled:
    """For callers who have the unconflicted events at hand: walks down from them, if need be from all."""

    def settled(event_ids: Collection[EventID]) -> set[EventID]:
        places = _Places(links)
        agreed = frozenset(unconflicted)
        wanted = set(event_ids)
        # Most of them are unconflicted themselves, or led up to what is.
        found = _in_or_below(wanted & agreed, wanted, places)
        return found | _in_or_below(agreed, wanted - found, places)

    return settled


def settled_by_citations(unconflicted: LookUp, fetch: Fetch, cited_by: CitedBy) -> Settled:
    """For callers who store who cites whom: walks up, as far as no unconflicted event is met.

    What is visited is what differs between the states, however much they have in common.
    """

    def settled(event_ids: Collection[EventID]) -> set[EventID]:
        events = KnownEvents(fetch)
        found: set[EventID] = set()
        visited: set[EventID] = set()
        level = set(event_ids)
        while level:
            visited |= level
            events.load(level)
            agreed = {event_id for event_id in level if _is_in(unconflicted, events[event_id])}
            found |= agreed
            level = set(cited_by(sorted(level - agreed))) - visited if level - agreed else set()
        # From those that were met back down to those that were asked about.
        level = found
        while level:
            level = {cited for event_id in level for cited in events[event_id].auth_events} & visited - found
            found = found | level
        return found.intersection(event_ids)

    return settled


def _is_in(state: LookUp, event: Event) -> bool:
    return event.state_key is not None and state((event.type, event.state_key)) == event.event_id


def _in_or_below(tops: Iterable[EventID], wanted: set[EventID], places: _Places) -> set[EventID]:
    """Those of `wanted` that are among `tops`, or in their auth chains."""
    places.load(wanted)
    floor = min((places[event_id].generation for event_id in wanted), default=0)
    missing = set(wanted)
    visited: set[EventID] = set()
    level = set(tops)
    while level and missing:
        missing -= level
        visited |= level
        places.load(level)
        level = {
            cited
            for event_id in level
            if places[event_id].generation > floor
            for cited in places[event_id].auth_events
        } - visited
    return wanted - missing


def conflicted_subgraph(conflicted: Collection[EventID], links: Links) -> set[EventID]:
    """The events on the paths from one conflicted event down to another, both ends included.

    A path may be a single event. Spec: room version 12, "State resolution", "Conflicted state subgraph".
    """
    places = _Places(links)
    subgraph = set(conflicted)
    places.load(subgraph)
    floor = min((places[event_id].generation for event_id in subgraph), default=0)
    # All that the conflicted events lead to, but for what is too low to lead to one of them.
    walked: set[EventID] = set()
    level = subgraph
    while level:
        walked |= level
        level = {cited for event_id in level for cited in places[event_id].auth_events} - walked
        places.load(level)
        level = {event_id for event_id in level if places[event_id].generation > floor}
    # The lowest generation first: whether an event leads to a conflicted one is known for all that it cites.
    for event_id in sorted(walked, key=lambda event_id: places[event_id].generation):
        if not subgraph.isdisjoint(places[event_id].auth_events):
            subgraph.add(event_id)
    return subgraph
