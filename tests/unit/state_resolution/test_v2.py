"""Room versions 2 and 12, "State resolution": cases with a known outcome."""

import attrs
import msgspec
import pytest

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion, StateResolution
from homeserver.core.state_resolution import resolve
from tests.unit.event_factory import ALICE, BOB, CAROL, DAVE, Dag, content_of, make_event, new_room

TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")

VERSIONS = [
    version for version in ROOM_VERSIONS.values() if version.state_resolution is not StateResolution.V1
]
each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)


def with_algorithm(version: str, algorithm: StateResolution) -> RoomVersion:
    return msgspec.structs.replace(ROOM_VERSIONS[version], state_resolution=algorithm)


def topic(dag: Dag, sender: str, text: str, *prev: Event, ts: int | None = None) -> Event:
    return dag.send("m.room.topic", sender, {"topic": text}, "", prev=prev, ts=ts)


def ban(dag: Dag, sender: str, user: str, *prev: Event, ts: int | None = None) -> Event:
    return dag.send("m.room.member", sender, {"membership": "ban"}, user, prev=prev, ts=ts)


def promote(dag: Dag, sender: str, user: str, level: int, *prev: Event, ts: int | None = None) -> Event:
    current = content_of(dag.after(*prev)[LEVELS])
    users = {**current["users"], user: level}
    return dag.send(LEVELS[0], sender, {**current, "users": users}, "", prev=prev, ts=ts)


def member(user: str) -> StateKey:
    return ("m.room.member", user)


# Forks


@each_version
def test_a_ban_counts_before_what_the_banned_do_meanwhile(version: RoomVersion) -> None:
    """Server-server API, "Soft failure": the example, with a topic that looks older than the ban."""
    dag, head = new_room(version, users={BOB: 50}, members=[BOB])
    first = topic(dag, ALICE, "first", head)
    banned = ban(dag, ALICE, BOB, first, ts=1000)
    evading = topic(dag, BOB, "evading", first, ts=500)
    assert not evading.rejected
    state = dag.after(banned, evading)
    assert state[TOPIC] == first
    assert state[member(BOB)] == banned


@each_version
def test_a_demotion_counts_before_what_the_demoted_do_meanwhile(version: RoomVersion) -> None:
    dag, head = new_room(version, users={BOB: 50}, members=[BOB, CAROL])
    demoted = promote(dag, ALICE, BOB, 0, head, ts=1000)
    kicked = dag.send("m.room.member", BOB, {"membership": "leave"}, CAROL, prev=[head], ts=10)
    renamed = topic(dag, BOB, "Bob's", kicked, ts=11)
    assert not kicked.rejected
    assert not renamed.rejected
    state = dag.after(demoted, renamed)
    assert state[LEVELS] == demoted
    assert content_of(state[member(CAROL)])["membership"] == "join"
    assert TOPIC not in state


@each_version
def test_between_two_admins_who_turn_on_each_other_the_earlier_wins(version: RoomVersion) -> None:
    dag, head = new_room(version, users={BOB: 100, CAROL: 100}, members=[BOB, CAROL])
    # In their own eyes each may demote themselves, and so each may not demote the other.
    by_bob = ban(dag, BOB, DAVE, head, ts=20)
    by_carol = ban(dag, CAROL, DAVE, head, ts=10)
    assert dag.after(by_bob, by_carol)[member(DAVE)] == by_bob
    levels = promote(dag, BOB, BOB, 0, head, ts=30)
    assert dag.after(levels, by_carol)[LEVELS] == levels


@each_version
def test_of_two_topics_the_later_wins_and_then_the_higher_id(version: RoomVersion) -> None:
    dag, head = new_room(version, users={BOB: 50}, members=[BOB])
    early, late = topic(dag, ALICE, "early", head, ts=10), topic(dag, BOB, "late", head, ts=20)
    assert dag.after(early, late)[TOPIC] == late
    same = topic(dag, ALICE, "same", head, ts=20)
    assert dag.after(late, same)[TOPIC] == max(late, same, key=lambda event: event.event_id)


@each_version
def test_newer_power_levels_make_an_event_newer_than_its_time(version: RoomVersion) -> None:
    """Mainline ordering: who has seen newer power levels comes later, whatever the clock says."""
    dag, head = new_room(version, users={BOB: 50}, members=[BOB])
    old = topic(dag, BOB, "says it is of 2100", head, ts=2**50)
    levels = promote(dag, ALICE, CAROL, 10, head)
    new = topic(dag, ALICE, "knows the new levels", levels, ts=1)
    assert dag.after(old, new)[TOPIC] == new


@each_version
def test_a_forked_promotion_is_replayed_with_what_rests_on_it(version: RoomVersion) -> None:
    dag, head = new_room(version, users={BOB: 100}, members=[BOB, CAROL])
    promoted = promote(dag, BOB, CAROL, 50, head, ts=10)
    renamed = topic(dag, CAROL, "Carol's", promoted, ts=11)
    elsewhere = topic(dag, ALICE, "Alice's", head, ts=5)
    state = dag.after(renamed, elsewhere)
    assert state[LEVELS] == promoted
    assert state[TOPIC] == renamed


@each_version
def test_three_states_and_an_entry_that_only_one_has(version: RoomVersion) -> None:
    dag, head = new_room(version, users={BOB: 50}, members=[BOB])
    named = dag.send("m.room.name", ALICE, {"name": "n"}, "", prev=[head])
    joined = dag.join(CAROL, prev=[head])
    renamed = topic(dag, BOB, "t", head)
    state = dag.after(named, joined, renamed)
    assert state["m.room.name", ""] == named
    assert state[member(CAROL)] == joined
    assert state[TOPIC] == renamed


@each_version
def test_auth_events_that_were_rejected_vouch_for_nothing(version: RoomVersion) -> None:
    dag, head = new_room(version, members=[BOB], events={"m.room.topic": 0})
    rejected = attrs.evolve(dag.join(CAROL, prev=[head]), rejected=True)
    dag.events[rejected.event_id] = rejected
    base = dag.states[head.event_id]
    cited = [dag.events[base[LEVELS]], rejected]
    if not version.room_id_is_create_hash:
        cited.append(dag.events[base["m.room.create", ""]])
    forged = make_event(version, "m.room.topic", CAROL, {"topic": "forged"}, "", auth=cited)
    dag.events[forged.event_id] = forged
    assert resolve(version, [base, {**base, TOPIC: forged.event_id}], dag.fetch) == base


# The two problems that version 2.1 solves: states that went back to older events than their auth chains know


def join_rules_were_lost(version: RoomVersion) -> tuple[Dag, list[dict[StateKey, EventID]], Event]:
    """Problem A. Alice sets the join rules twice and leaves; one state still has the first."""
    dag, head = new_room(version, users={BOB: 100}, members=[BOB])
    old = dag.after(head)[RULES]
    new = dag.send(RULES[0], ALICE, {"join_rule": "invite"}, "", prev=[head])
    left = dag.send("m.room.member", ALICE, {"membership": "leave"}, ALICE, prev=[new])
    ours = dag.states[left.event_id]
    outdated = {**ours, RULES: old.event_id}
    return dag, [ours, outdated], new


@pytest.mark.parametrize("version", ["11", "12"])
def test_problem_a_rules_of_a_user_who_left(version: str) -> None:
    dag, states, _ = join_rules_were_lost(with_algorithm(version, StateResolution.V2))
    # Alice is not in the room in the state that all start from: neither event of hers is allowed.
    assert RULES not in resolve(dag.version, states, dag.fetch)

    dag, states, newest = join_rules_were_lost(with_algorithm(version, StateResolution.V2_1))
    assert resolve(dag.version, states, dag.fetch)[RULES] == newest.event_id


def promotions_were_lost(version: RoomVersion) -> tuple[Dag, list[dict[StateKey, EventID]], list[Event]]:
    """Problem B. Alice promotes Bob, Bob promotes Carol; one state still has the levels before."""
    dag, head = new_room(version, members=[BOB, CAROL])
    old = dag.after(head)[LEVELS]
    bob_promoted = promote(dag, ALICE, BOB, 100, head)
    carol_promoted = promote(dag, BOB, CAROL, 50, bob_promoted)
    renamed = topic(dag, CAROL, "all have seen Carol's promotion", carol_promoted)
    ours = dag.states[renamed.event_id]
    outdated = {**ours, LEVELS: old.event_id}
    return dag, [ours, outdated], [old, bob_promoted, carol_promoted]


@pytest.mark.parametrize("version", ["11", "12"])
def test_problem_b_levels_that_rest_on_levels_in_between(version: str) -> None:
    dag, states, levels = promotions_were_lost(with_algorithm(version, StateResolution.V2))
    # Without Bob's promotion, which is in no difference, his of Carol is not allowed.
    assert resolve(dag.version, states, dag.fetch)[LEVELS] == levels[0].event_id

    dag, states, levels = promotions_were_lost(with_algorithm(version, StateResolution.V2_1))
    assert resolve(dag.version, states, dag.fetch)[LEVELS] == levels[2].event_id


# The ends


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: version.identifier)
def test_one_state_and_none(version: RoomVersion) -> None:
    dag, head = new_room(version)
    state = dag.states[head.event_id]

    def fail(_event_ids: object) -> dict[EventID, Event]:
        raise AssertionError("nothing is in conflict")

    assert resolve(version, [], fail) == {}
    assert resolve(version, [state], fail) == state
    assert resolve(version, [state, dict(state), dict(state)], fail) == state


@each_version
def test_an_event_that_cannot_be_had_is_an_error(version: RoomVersion) -> None:
    dag, head = new_room(version)
    state = dag.states[head.event_id]
    with pytest.raises(KeyError):
        resolve(version, [state, {**state, TOPIC: EventID("$unknown:a.example")}], dag.fetch)
