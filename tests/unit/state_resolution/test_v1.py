"""Room version 1, "State resolution"."""

import hashlib

import pytest

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.state_resolution import resolve
from tests.unit.event_factory import ALICE, BOB, CAROL, make_event, new_room

TOPIC = ("m.room.topic", "")


class Room:
    """A room of version 1 with Alice (100), Bob (50) and Carol (0)."""

    def __init__(self) -> None:
        self.dag, _ = new_room("1", users={BOB: 50}, members=[BOB, CAROL])
        self.base = {event.key: event for event in self.dag.events.values() if event.is_state}

    def event(
        self,
        type: str,
        sender: str,
        key: str,
        depth: int,
        content: dict[str, object],
        event_id: str | None = None,
    ) -> Event:
        event = make_event("1", type, sender, content, key, depth=depth, event_id=event_id)
        self.dag.events[event.event_id] = event
        return event

    def topic(self, sender: str, depth: int, event_id: str | None = None) -> Event:
        return self.event("m.room.topic", sender, "", depth, {"topic": "t"}, event_id)

    def levels(self, sender: str, depth: int, event_id: str | None = None, **users: int) -> Event:
        levels = {
            ALICE: 100,
            BOB: 50,
            **{{"bob": BOB, "carol": CAROL}[user]: level for user, level in users.items()},
        }
        return self.event("m.room.power_levels", sender, "", depth, {"users": levels}, event_id)

    def member(self, sender: str, user: str, membership: str, depth: int) -> Event:
        return self.event("m.room.member", sender, user, depth, {"membership": membership})

    def resolve(self, *changes: list[Event], without: StateKey | None = None) -> dict[StateKey, Event]:
        states: list[dict[StateKey, EventID]] = []
        for changed in changes:
            state = {key: event.event_id for key, event in self.base.items() if key != without}
            state |= {event.key: event.event_id for event in changed}
            states.append(state)
        resolved = resolve(ROOM_VERSIONS["1"], states, self.dag.fetch)
        return {key: self.dag.events[event_id] for key, event_id in resolved.items()}


def test_an_entry_that_only_one_state_has_is_kept() -> None:
    """Even if the rules would not let it in now: that is no conflict."""
    room = Room()
    topic = room.topic(CAROL, 10)
    assert room.resolve([topic], [])[TOPIC] == topic


def test_the_deepest_of_other_events_that_is_allowed_wins() -> None:
    room = Room()
    low, high, forbidden = room.topic(BOB, 10), room.topic(ALICE, 11), room.topic(CAROL, 12)
    assert room.resolve([low], [high])[TOPIC] == high
    assert room.resolve([low], [high], [forbidden])[TOPIC] == high
    assert room.resolve([low], [forbidden])[TOPIC] == low


def test_of_equal_depth_the_lowest_sha1_wins() -> None:
    room = Room()
    topics = [room.topic(BOB, 10, f"$topic{number}:b.example") for number in range(5)]
    expected = min(topics, key=lambda event: hashlib.sha1(event.event_id.encode()).digest())
    assert room.resolve(*[[topic] for topic in topics])[TOPIC] == expected


def test_if_none_is_allowed_the_shallowest_stays() -> None:
    room = Room()
    low, high = room.topic(CAROL, 10), room.topic(CAROL, 11)
    assert room.resolve([low], [high])[TOPIC] == low


def test_power_levels_are_followed_as_long_as_each_allows_the_next() -> None:
    room = Room()
    key = ("m.room.power_levels", "")
    del room.base[key]
    demoted = room.levels(ALICE, 10, bob=0)
    by_bob = room.levels(BOB, 11, carol=50)
    by_alice = room.levels(ALICE, 12, carol=75)
    # The first counts unseen; Bob's is not allowed by it, and ends the row: Alice's is not looked at.
    assert room.resolve([demoted], [by_bob], [by_alice])[key] == demoted
    assert room.resolve([demoted], [by_alice])[key] == by_alice
    kept = room.levels(ALICE, 9, bob=100)
    assert room.resolve([kept], [by_bob])[key] == by_bob


def test_of_power_levels_of_equal_depth_the_highest_sha1_comes_first() -> None:
    room = Room()
    key = ("m.room.power_levels", "")
    del room.base[key]
    both = [room.levels(ALICE, 10, f"$levels{number}:a.example", bob=number) for number in range(4)]
    expected = min(both, key=lambda event: hashlib.sha1(event.event_id.encode()).digest())
    assert room.resolve(*[[event] for event in both])[key] == expected


def test_resolved_power_levels_judge_memberships_and_those_judge_the_rest() -> None:
    room = Room()
    promoted = room.levels(ALICE, 10, carol=75)
    unchanged = room.levels(ALICE, 9, bob=50)
    banned, joined = room.member(CAROL, BOB, "ban", 11), room.member(BOB, BOB, "join", 5)
    by_bob, by_alice = room.topic(BOB, 20), room.topic(ALICE, 6)
    result = room.resolve([promoted, banned, by_alice], [unchanged, joined, by_bob])
    assert result["m.room.power_levels", ""] == promoted
    assert result["m.room.member", BOB] == banned
    assert result[TOPIC] == by_alice


def test_memberships_are_judged_without_each_other() -> None:
    """Whose conflict is resolved first must not matter."""
    room = Room()
    bob_before, bob_after = room.member(BOB, BOB, "join", 3), room.member(ALICE, BOB, "leave", 10)
    carol_before, carol_after = room.member(CAROL, CAROL, "join", 3), room.member(BOB, CAROL, "ban", 11)
    result = room.resolve([bob_before, carol_before], [bob_after, carol_after])
    assert result["m.room.member", BOB] == bob_after
    # Bob's membership is in conflict itself, so nobody knows yet that he may ban.
    assert result["m.room.member", CAROL] == carol_before


@pytest.mark.parametrize("depth", [0, 2**63 - 1])
def test_any_depth_will_do(depth: int) -> None:
    room = Room()
    own, other = room.topic(ALICE, depth), room.topic(BOB, 10)
    assert room.resolve([own], [other])[TOPIC] == (own if depth else other)
