"""Room versions, "Authorisation rules": what joined users may send."""

import time
from typing import Any

import pytest

from homeserver.core.auth_rules import check_state
from homeserver.core.event import Event
from homeserver.core.power_levels import PowerLevels
from tests.unit.event_factory import (
    ALICE,
    BOB,
    CAROL,
    VERSIONS,
    allows,
    create_event,
    make_event,
    member,
    state_of,
    versions_with,
    versions_without,
)


def room(version: str, levels: dict[str, Any] | None = None, membership: str | None = "join") -> list[Event]:
    """The state of a room with Bob in it."""
    state = [create_event(version), member(version, ALICE, "join")]
    if membership is not None:
        state.append(member(version, BOB, membership))
    if levels is not None:
        state.append(make_event(version, "m.room.power_levels", ALICE, levels, ""))
    return state


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("membership", [None, "invite", "knock", "leave", "ban", "unheard", "join"])
def test_only_the_joined_send(version: str, membership: str | None) -> None:
    state = room(version, {"users": {BOB: 100}}, membership)
    keys = {"m.room.message": None, "m.room.topic": "", "m.room.third_party_invite": "t"}
    for event_type, key in keys.items():
        event = make_event(version, event_type, BOB, {}, key)
        assert allows(event, *state, why="The sender is joined") is (membership == "join")


@pytest.mark.parametrize("version", VERSIONS)
def test_there_must_be_a_create_event(version: str) -> None:
    message = make_event(version, "m.room.message", BOB)
    assert not allows(message, *room(version)[1:], why="has a create event")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("levels", "message", "topic"),
    [
        (None, True, False),
        ({}, True, False),
        ({"users": {BOB: 50}}, True, True),
        ({"users_default": 50}, True, True),
        ({"users": {BOB: -1}}, False, False),
        ({"events_default": 1}, False, False),
        ({"events_default": 1, "users": {BOB: 1}}, True, False),
        ({"state_default": 0}, True, True),
        ({"state_default": 0, "events": {"m.room.topic": 1}}, True, False),
        ({"events": {"m.room.topic": 0}}, True, True),
        ({"events": {"m.room.message": 1}}, False, False),
        ({"events_default": 5, "events": {"m.room.message": 0}}, True, False),
    ],
)
def test_the_level_that_the_type_requires(
    version: str, levels: dict[str, Any] | None, message: bool, topic: bool
) -> None:
    state = room(version, levels)
    assert allows(make_event(version, "m.room.message", BOB), *state) is message
    assert allows(make_event(version, "m.room.topic", BOB, {}, ""), *state) is topic


@pytest.mark.parametrize("version", VERSIONS[:9])
@pytest.mark.parametrize("levels", [{"users_default": "x"}, {"events_default": []}, {"events": "none"}])
def test_what_cannot_be_read_permits_nothing(version: str, levels: dict[str, Any]) -> None:
    assert not allows(make_event(version, "m.room.message", BOB), *room(version, levels))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_third_party_invite_needs_the_invite_level_alone(version: str) -> None:
    event = make_event(version, "m.room.third_party_invite", BOB, {}, "token")
    for levels, allowed in (
        (None, True),
        ({"invite": 1}, False),
        ({"invite": 1, "users": {BOB: 1}}, True),
        ({"events": {"m.room.third_party_invite": 100}, "state_default": 100}, True),
    ):
        assert allows(event, *room(version, levels)) is allowed


@pytest.mark.parametrize("version", VERSIONS)
def test_state_keys_that_name_a_user(version: str) -> None:
    state = room(version, {"users": {BOB: 100}})
    for key, allowed in (
        (BOB, True),
        (CAROL, False),
        ("@", False),
        ("@bob:b.example ", False),
        ("bob", True),
    ):
        assert allows(make_event(version, "org.example.own", BOB, {}, key), *state) is allowed
    assert not allows(make_event(version, "m.room.power_levels", BOB, {}, CAROL), *state, why="starts with @")


@pytest.mark.parametrize("version", versions_with("aliases_auth_rule"))
def test_aliases_where_they_are_special(version: str) -> None:
    state = [create_event(version)]
    aliases = {"aliases": ["#room:b.example"]}
    # Neither membership nor power matters.
    assert allows(make_event(version, "m.room.aliases", BOB, aliases, "b.example"), *state)
    assert not allows(make_event(version, "m.room.aliases", BOB, aliases, "a.example"), *state)
    assert not allows(make_event(version, "m.room.aliases", BOB, aliases, None), *state, why="a state key")
    closed = create_event(version, content={"m.federate": False})
    assert not allows(make_event(version, "m.room.aliases", BOB, aliases, "b.example"), closed)


@pytest.mark.parametrize("version", versions_without("aliases_auth_rule"))
def test_aliases_where_they_are_not(version: str) -> None:
    event = make_event(version, "m.room.aliases", BOB, {}, "b.example")
    assert not allows(event, create_event(version), why="The sender is joined")
    assert not allows(event, *room(version))
    assert allows(event, *room(version, {"users": {BOB: 50}}))


def redaction(version: str, redacts: str | None) -> Event:
    return make_event(version, "m.room.redaction", BOB, redacts=redacts, event_id="$redaction:b.example")


@pytest.mark.parametrize("version", versions_with("redaction_auth_rule"))
def test_redactions_where_the_rules_judge_them(version: str) -> None:
    strangers = redaction(version, "$event:c.example")
    own_servers = redaction(version, "$event:b.example")
    for levels, allowed in (
        (None, False),
        ({"users": {BOB: 49}}, False),
        ({"users": {BOB: 50}}, True),
        ({"redact": 0}, True),
        ({"redact": "?", "users": {BOB: 100}}, False),
    ):
        assert allows(strangers, *room(version, levels)) is allowed
        assert allows(own_servers, *room(version, levels))
    for redacts in ("$event", "$event:b.example:1", "", None):
        assert not allows(redaction(version, redacts), *room(version))
    assert not allows(own_servers, *room(version, {"events_default": 1}))


@pytest.mark.parametrize("version", versions_without("redaction_auth_rule"))
def test_redactions_where_they_are_events_like_others(version: str) -> None:
    event = redaction(version, "$event:c.example")
    assert allows(event, *room(version, {"redact": 100}))
    assert not allows(event, *room(version, {"events": {"m.room.redaction": 1}}))


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_at_hand_are_used(version: str) -> None:
    state = room(version, {"users": {BOB: 50}})
    power = PowerLevels.of(state[-1], state[0])
    topic = make_event(version, "m.room.topic", BOB, {}, "")
    kick = make_event(version, "m.room.member", BOB, {"membership": "leave"}, CAROL)
    for event in (topic, kick):
        check_state(event, state_of(*state[:-1], state[-1]), power)
        check_state(event, state_of(*state[:-1]), power)


def test_a_message_is_checked_in_microseconds() -> None:
    users = {f"@user{number}:b.example": 10 for number in range(100)}
    state = state_of(*room("12", {"users": {BOB: 50, **users}}))
    power = PowerLevels.of(state["m.room.power_levels", ""], state["m.room.create", ""])
    message = make_event("12", "m.room.message", BOB, {"body": "hello"})
    best = min(_seconds(message, state, power) for _ in range(5))
    assert best < 20e-6


def _seconds(event: Event, state: Any, power: PowerLevels) -> float:
    started = time.process_time()
    for _ in range(2_000):
        check_state(event, state, power)
    return (time.process_time() - started) / 2_000
