"""The parts of the auth graph that are replayed, against plain set arithmetic."""

from collections.abc import Collection, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.state_resolution import (
    AuthLink,
    Fetch,
    Links,
    Settled,
    auth_difference,
    links_from,
    settled_by_citations,
    settled_by_walking,
)
from homeserver.core.state_resolution.auth_graph import conflicted_subgraph
from tests.unit.event_factory import ALICE, make_event
from tests.unit.state_resolution.reference import difference, subgraph_of

Graph = dict[EventID, Event]


MOST_EVENTS = 25

EVENT = st.tuples(st.lists(st.integers(0, MOST_EVENTS - 1), max_size=4), st.integers(0, 4), st.integers(0, 9))
"""Whom an event cites, by number, what its depth is, and how its ID begins."""

EVENTS_OF = {
    number: st.lists(EVENT, min_size=number, max_size=number) for number in range(1, MOST_EVENTS + 1)
}
"""Made once: what is made for each event anew takes longer than all that is tested."""


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Events that cite earlier ones, with depths that tell nothing."""
    events: list[Event] = []
    for number, (picks, which, prefix) in enumerate(draw(EVENTS_OF[draw(st.integers(1, MOST_EVENTS))])):
        cited = [events[place] for place in dict.fromkeys(pick % number for pick in picks)] if events else []
        depth = (0, 1, number, 1000 - number, 2**53 - 1)[which]
        event_id = f"${prefix}-{number}"
        events.append(
            make_event(
                "12", "m.room.member", ALICE, {}, str(number), auth=cited, depth=depth, event_id=event_id
            )
        )
    return {event.event_id: event for event in events}


def stored_links(graph: Graph) -> Links:
    """Links of a caller who stores generations, and gives no more than it is asked for."""
    known: dict[EventID, AuthLink] = {}
    for event in graph.values():
        generation = 1 + max((known[cited].generation for cited in event.auth_events), default=-1)
        known[event.event_id] = AuthLink(generation, event.auth_events)

    def links(event_ids: Collection[EventID]) -> Mapping[EventID, AuthLink]:
        return {event_id: known[event_id] for event_id in event_ids}

    return links


def computed_links(graph: Graph) -> Links:
    return links_from(graph_fetch(graph))


def citations(graph: Graph, unconflicted: set[EventID]) -> Settled:
    """As a caller has it who stores who cites whom."""
    state = {graph[event_id].key: event_id for event_id in unconflicted}

    def cited_by(event_ids: Collection[EventID]) -> list[EventID]:
        return [
            event.event_id for event in graph.values() if not set(event_ids).isdisjoint(event.auth_events)
        ]

    return settled_by_citations(state.get, graph_fetch(graph), cited_by)


def graph_fetch(graph: Graph) -> Fetch:
    return lambda event_ids: {event_id: graph[event_id] for event_id in event_ids}


PARTS = st.lists(st.lists(st.integers(0, 24), max_size=8), min_size=2, max_size=4)


@given(graphs(), PARTS, st.lists(st.integers(0, 24), max_size=8), st.booleans())
@settings(max_examples=500, deadline=None)
def test_auth_difference(graph: Graph, picks: list[list[int]], agreed: list[int], stored: bool) -> None:
    ids = list(graph)
    common = {ids[pick % len(ids)] for pick in agreed}
    sets = [{ids[pick % len(ids)] for pick in part} - common for part in picks]
    links = stored_links(graph) if stored else computed_links(graph)
    expected = difference([part | common for part in sets], graph).difference(*sets)
    for settled in (settled_by_walking(common, links), citations(graph, common)):
        assert auth_difference(sets, settled, links) == expected
        assert auth_difference([sorted(part) for part in sets[::-1]], settled, links) == expected


@given(graphs(), st.lists(st.integers(0, 24), max_size=8), st.booleans())
@settings(max_examples=500, deadline=None)
def test_conflicted_subgraph(graph: Graph, picks: list[int], stored: bool) -> None:
    ids = list(graph)
    conflicted = {ids[pick % len(ids)] for pick in picks}
    links = stored_links(graph) if stored else computed_links(graph)
    assert conflicted_subgraph(conflicted, links) == subgraph_of(conflicted, graph)


@given(graphs())
@settings(deadline=None)
def test_computed_links_are_the_stored_ones(graph: Graph) -> None:
    assert dict(computed_links(graph)(list(graph))) == dict(stored_links(graph)(list(graph)))
    for event_id in graph:
        assert computed_links(graph)([event_id])[event_id] == stored_links(graph)([event_id])[event_id]


def chain(length: int) -> Graph:
    events: list[Event] = []
    for number in range(length):
        events.append(
            make_event("12", "m.room.member", ALICE, {}, "", auth=events[-1:], event_id=f"${number:06}")
        )
    return {event.event_id: event for event in events}


def test_the_walk_stops_where_the_states_meet() -> None:
    """Of a chain of 5,000 events only the end is looked at, if generations are stored."""
    graph = chain(5_000)
    ids = list(graph)
    asked: set[EventID] = set()
    links = stored_links(graph)

    def counting(event_ids: Collection[EventID]) -> Mapping[EventID, AuthLink]:
        asked.update(event_ids)
        return links(event_ids)

    found = auth_difference([[ids[-1]], [ids[-10]]], settled_by_walking([], counting), counting)
    assert found == set(ids[-9:-1])
    assert len(asked) < 20


def test_long_chains_need_no_deep_stack() -> None:
    graph = chain(20_000)
    ids = list(graph)
    assert computed_links(graph)([ids[-1]])[ids[-1]].generation == 19_999


def test_a_circle_is_an_error_and_no_endless_loop() -> None:
    """IDs of room versions 1 and 2 are no hashes; but no event can have been accepted before itself."""
    first = make_event("1", "m.room.member", ALICE, {}, "", event_id="$1:a.example")
    second = make_event("1", "m.room.member", ALICE, {}, "", auth=[first], event_id="$2:a.example")
    first = make_event("1", "m.room.member", ALICE, {}, "", auth=[second], event_id="$1:a.example")
    with pytest.raises(ValueError, match="lead back"):
        computed_links({first.event_id: first, second.event_id: second})([first.event_id])
