"""What must hold of every resolution: in rooms grown by chance, and beside a literal implementation."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.auth_rules import auth_state, check_auth_events, check_state
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion, StateResolution
from homeserver.core.state_resolution import resolve
from tests.unit.event_factory import VERSIONS, Dag
from tests.unit.state_resolution.random_rooms import (
    State,
    grow,
    moves_by_chance,
    redelivered,
    shuffled,
    states_of,
)
from tests.unit.state_resolution.reference import reference_resolve

SMALL = st.integers(0, 1000)
MOVES = st.lists(
    st.tuples(SMALL, SMALL, SMALL, SMALL, st.integers(0, 5), st.integers(0, 5)), min_size=5, max_size=25
)
PICKS = st.lists(st.integers(0, 12), min_size=2, max_size=4)
CHANGES = st.lists(st.tuples(SMALL, SMALL, SMALL), max_size=4)
ANY_VERSION = st.sampled_from(VERSIONS)

# Each algorithm on rules that know as much as possible.
ALGORITHMS = [
    ROOM_VERSIONS["1"],
    msgspec.structs.replace(ROOM_VERSIONS["11"], state_resolution=StateResolution.V1),
    ROOM_VERSIONS["2"],
    ROOM_VERSIONS["11"],
    msgspec.structs.replace(ROOM_VERSIONS["11"], state_resolution=StateResolution.V2_1),
    msgspec.structs.replace(ROOM_VERSIONS["12"], state_resolution=StateResolution.V2),
    ROOM_VERSIONS["12"],
]


@given(st.sampled_from(ALGORITHMS), MOVES, PICKS, CHANGES)
@settings(max_examples=400, deadline=None)
def test_it_is_what_the_text_says(
    version: RoomVersion, moves: list[tuple[int, ...]], picks: list[int], changes: list[tuple[int, int, int]]
) -> None:
    dag = grow(version, moves)  # type: ignore[arg-type]  # what the test wants to be taken
    states = states_of(dag, picks, changes)
    assert resolve(version, states, dag.fetch) == reference_resolve(version, states, dag.events)


@pytest.mark.parametrize("version", ALGORITHMS)
def test_it_is_what_the_text_says_in_larger_rooms(version: RoomVersion) -> None:
    for seed in range(60):
        dag = grow(version, moves_by_chance(seed, 40))
        for changes in ([], [(0, seed, seed + 1), (1, seed + 2, seed)]):
            states = states_of(dag, [0, seed % 5, seed % 11], changes)
            assert resolve(version, states, dag.fetch) == reference_resolve(version, states, dag.events)


@given(ANY_VERSION, MOVES, PICKS, CHANGES, SMALL)
@settings(max_examples=150, deadline=None)
def test_no_order_matters(
    version: str,
    moves: list[tuple[int, ...]],
    picks: list[int],
    changes: list[tuple[int, int, int]],
    seed: int,
) -> None:
    dag = grow(ROOM_VERSIONS[version], moves)  # type: ignore[arg-type]  # what the test wants to be taken
    states = states_of(dag, picks, changes)
    expected = resolve(dag.version, states, dag.fetch)
    assert resolve(dag.version, shuffled(states, seed), dag.fetch) == expected
    assert resolve(dag.version, [*states, *shuffled(states, seed)], dag.fetch) == expected


@given(ANY_VERSION, MOVES, SMALL)
@settings(max_examples=75, deadline=None)
def test_every_order_of_delivery_gives_the_same_room(
    version: str, moves: list[tuple[int, ...]], seed: int
) -> None:
    dag = grow(ROOM_VERSIONS[version], moves)  # type: ignore[arg-type]  # what the test wants to be taken
    other = redelivered(dag, seed)
    assert other.states == dag.states
    assert {event_id: event.rejected for event_id, event in other.events.items()} == {
        event_id: event.rejected for event_id, event in dag.events.items()
    }


def check_result(dag: Dag, states: list[State], result: State) -> None:
    create = dag.events[states[0]["m.room.create", ""]]
    assert result["m.room.create", ""] == create.event_id
    for key, event_id in result.items():
        event = dag.events[event_id]
        assert event.key == key
        assert not event.rejected
        # The rules allow it by what it cites.
        cited = [dag.events[auth_event] for auth_event in event.auth_events]
        check_auth_events(event, cited, create)
        if event != create:
            check_state(event, auth_state(cited, create))
    for key, event_id in states[0].items():
        if all(state.get(key) == event_id for state in states):
            assert result[key] == event_id


@given(ANY_VERSION, MOVES, PICKS, CHANGES)
@settings(max_examples=150, deadline=None)
def test_the_result_is_a_state_of_the_room(
    version: str, moves: list[tuple[int, ...]], picks: list[int], changes: list[tuple[int, int, int]]
) -> None:
    dag = grow(ROOM_VERSIONS[version], moves)  # type: ignore[arg-type]  # what the test wants to be taken
    states = states_of(dag, picks, changes)
    result = resolve(dag.version, states, dag.fetch)
    check_result(dag, states, result)
    # Resolved is resolved.
    assert resolve(dag.version, [result], dag.fetch) == result
    assert resolve(dag.version, [result, dict(result)], dag.fetch) == result


@pytest.mark.parametrize("version", VERSIONS)
def test_rejected_events_do_not_come_back(version: str) -> None:
    """CVE-2022-39374: even where a state has one, it does not come out."""
    for seed in range(20):
        dag = grow(ROOM_VERSIONS[version], moves_by_chance(seed, 30))
        rejected = [event for event in dag.events.values() if event.rejected and event.is_state]
        states = states_of(dag, [0, 3, 7])
        for index, event in enumerate(rejected):
            states[index % 2][event.key] = event.event_id
        result = resolve(dag.version, states, dag.fetch)
        assert not {event.event_id for event in rejected} & set(result.values())


def digest_of_some_rooms() -> str:
    """Of what all algorithms make of the same rooms."""
    digest = hashlib.sha256()
    for version in ALGORITHMS:
        for seed in range(10):
            dag = grow(version, moves_by_chance(seed, 40))
            result = resolve(version, states_of(dag, [0, 2, 5], [(0, seed, 3), (1, 5, seed)]), dag.fetch)
            digest.update(repr(sorted(result.items())).encode())
    return digest.hexdigest()


def test_the_order_of_sets_does_not_matter() -> None:
    """Python iterates over sets of strings in an order that changes from process to process."""
    root = Path(__file__).parents[3]
    program = "from tests.unit.state_resolution import test_laws; print(test_laws.digest_of_some_rooms())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1
