"""Room versions, "Authorisation rules": the rule for `m.room.power_levels`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.event import Event
from tests.unit.event_factory import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    VERSIONS,
    allows,
    create_event,
    make_event,
    member,
)

NO_LEVELS: list[Any] = [None, True, "ten", [1], {}, 10**400]
SINGLE_LEVELS = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"]


def power_levels(version: str, content: dict[str, Any], sender: str = BOB) -> Event:
    return make_event(version, "m.room.power_levels", sender, content, "")


def may_change(version: str, old: dict[str, Any] | None, new: dict[str, Any], why: str | None = None) -> bool:
    """Whether Bob may replace the power levels; he has the level that `old` gives him."""
    create = create_event(version, creator=BOB if old is None else ALICE)
    state = [create, member(version, BOB, "join")]
    if old is not None:
        state.append(power_levels(version, old, ALICE))
    return allows(power_levels(version, new), *state, why=why)


def with_bob(level: Any, **content: Any) -> dict[str, Any]:
    """Levels where Bob has this power, and it suffices to send power levels if it is 50 or more."""
    return {"users": {BOB: level, **content.pop("users", {})}, **content}


# The form


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "users",
    [
        *(None, [], "all", 1, {"bob": 1}, {"@bob": 1}, {"@bob:b example": 1}),
        *({CAROL: level} for level in NO_LEVELS),
    ],
)
def test_users_is_an_object_of_users_with_levels(version: str, first: bool, users: Any) -> None:
    old = None if first else with_bob(100)
    assert not may_change(version, old, {"users": users}, why="users")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", [True, False])
def test_users_may_be_absent_or_empty(version: str, first: bool) -> None:
    old = None if first else with_bob(100)
    assert may_change(version, old, {})
    assert may_change(version, old, {"users": {}})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("user", ["@:c.example", "@Old~ Café:c.example", "@c:[::1]:8448"])
def test_historical_user_ids_are_valid(version: str, user: str) -> None:
    assert may_change(version, with_bob(100), with_bob(100, users={user: 5}))


@pytest.mark.parametrize("version", VERSIONS)
def test_strings_and_floats_are_levels_in_old_rooms(version: str) -> None:
    for value, last in (("50", 9), (" +050 ", 9), (50.9, 5), (5.0e1, 5)):
        for new in (with_bob(100, users={CAROL: value}), with_bob(100, ban=value)):
            assert may_change(version, with_bob(100), new) is (int(version) <= last), value
        new = with_bob(100, events={"m.room.name": value}, notifications={"room": value})
        assert may_change(version, with_bob(100), new) is (int(version) <= last), value


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SINGLE_LEVELS)
@pytest.mark.parametrize("value", [None, True, "ten", [], {}, 10**400])
def test_a_single_level_that_is_none_cannot_be_set(version: str, name: str, value: Any) -> None:
    huge = value == 10**400
    # Where only users is checked in the first power levels, the rest need make no sense.
    expected = int(version) <= 9 or huge
    assert may_change(version, None, {name: value}) is expected
    if not (huge and int(version) >= 10):
        assert not may_change(version, with_bob(100), with_bob(100, **{name: value}))
        # It also cannot be kept, or got rid of.
        assert not may_change(version, with_bob(100, **{name: value}), with_bob(100, **{name: value}))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["events", "notifications"])
@pytest.mark.parametrize("value", [None, "ten", [], 1, {"x": None}, {"x": True}, {"x": "ten"}, {"x": []}])
def test_a_table_that_is_none_cannot_be_set(version: str, name: str, value: Any) -> None:
    number = int(version)
    assert may_change(version, None, {name: value}) is (number <= 9)
    ignored = name == "notifications" and number <= 5
    assert may_change(version, with_bob(100), with_bob(100, **{name: value})) is ignored


def test_integers_that_are_spelled_otherwise_are_the_same() -> None:
    old = with_bob(50, ban="0100", users={CAROL: 100.9}, events={"m.room.name": " 100"})
    new = with_bob("50", ban=100.2, users={CAROL: "100"}, events={"m.room.name": 100})
    assert may_change("5", old, new)


# What a sender of level 50 may do with single levels


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SINGLE_LEVELS)
@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (None, None, True),
        (None, 50, True),
        (None, 51, False),
        (None, -10, True),
        (50, None, True),
        (50, 49, True),
        (50, 50, True),
        (50, 51, False),
        (49, 50, True),
        (49, 51, False),
    ],
)
def test_single_levels_up_to_the_senders_own(
    version: str, name: str, before: int | None, after: int | None, allowed: bool
) -> None:
    old = with_bob(50) if before is None else with_bob(50, **{name: before})
    new = with_bob(50) if after is None else with_bob(50, **{name: after})
    assert may_change(version, old, new) is allowed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [name for name in SINGLE_LEVELS if name != "state_default"])
def test_single_levels_above_the_senders_own(version: str, name: str) -> None:
    old = with_bob(50, **{name: 51})
    assert may_change(version, old, old)
    for new in (with_bob(50), with_bob(50, **{name: 50}), with_bob(50, **{name: 52})):
        assert not may_change(version, old, new, why="above the sender's own")


# Tables of events and notifications


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["events", "notifications"])
@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (None, 50, True),
        (None, 51, False),
        (50, None, True),
        (50, 0, True),
        (50, 51, False),
        (51, 51, True),
        (51, None, False),
        (51, 50, False),
        (51, 52, False),
    ],
)
def test_tables_up_to_the_senders_own(
    version: str, name: str, before: int | None, after: int | None, allowed: bool
) -> None:
    old = with_bob(50, **{name: {} if before is None else {"m.room.name": before}})
    new = with_bob(50, **{name: {} if after is None else {"m.room.name": after}})
    unchecked = name == "notifications" and int(version) <= 5
    assert may_change(version, old, new) is (allowed or unchecked)
    # A table that disappears loses its entries.
    if before is not None and after is None:
        assert may_change(version, old, with_bob(50)) is (allowed or unchecked)


# Users


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (None, 50, True),
        (None, 51, False),
        (49, 50, True),
        (49, None, True),
        (49, 51, False),
        (50, 50, True),
        (50, 49, False),
        (50, None, False),
        (50, 51, False),
        (51, 51, True),
        (51, 50, False),
        (51, None, False),
    ],
)
def test_other_users_below_the_senders_own(
    version: str, before: int | None, after: int | None, allowed: bool
) -> None:
    old = with_bob(50, users={} if before is None else {CAROL: before})
    new = with_bob(50, users={} if after is None else {CAROL: after})
    assert may_change(version, old, new) is allowed


@pytest.mark.parametrize("version", VERSIONS)
def test_ones_own_level_can_be_lowered_only(version: str) -> None:
    assert may_change(version, with_bob(50), with_bob(49))
    assert may_change(version, with_bob(50), {"users": {}})
    assert not may_change(version, with_bob(50), with_bob(51))
    # A level that comes from users_default is the sender's level as well.
    assert may_change(version, {"users_default": 50}, {"users_default": 50, "users": {BOB: 50}})
    assert not may_change(version, {"users_default": 50}, {"users_default": 50, "users": {BOB: 51}})


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_power_levels_are_free(version: str) -> None:
    content = {"users": {CAROL: 2**53 - 1}, "ban": 2**53 - 1, "events": {"m.room.name": 1000}}
    assert may_change(version, None, content)


# Creators


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("first", [True, False])
def test_privileged_creators_stand_in_no_power_levels(version: str, first: bool) -> None:
    create = create_event(version, additional_creators=[DAVE])
    old = power_levels(version, {"users": {} if version == "12" else {ALICE: 100}}, ALICE)
    state = [create, member(version, ALICE, "join"), *(() if first else (old,))]
    for creator in (ALICE, DAVE):
        new = power_levels(version, {"users": {creator: 100}}, ALICE)
        if version == "12":
            assert not allows(new, *state, why="does not have the room's creators")
        elif creator == ALICE:
            assert allows(new, *state)


def test_privileged_creators_may_do_anything_else() -> None:
    old = {"users": {BOB: 2**53 - 1, CAROL: 100}, "ban": 2**53 - 1, "events": {"m.room.power_levels": 10**6}}
    create = create_event("12")
    state = [create, member("12", ALICE, "join"), power_levels("12", old, ALICE)]
    assert allows(power_levels("12", {"users": {BOB: 0}, "ban": 0}, ALICE), *state)


# Laws

LEVELS = st.integers(-3, 3)
USERS = st.dictionaries(st.sampled_from([ALICE, BOB, CAROL, DAVE]), LEVELS)
CONTENT = st.fixed_dictionaries(
    {"events": st.just({"m.room.power_levels": -3})},
    optional={"users": USERS, **dict.fromkeys(SINGLE_LEVELS, LEVELS)},
)


# Without users_default: the rules let a user with less than the default drop it, or themselves, and so rise.
STATED = st.fixed_dictionaries(
    {
        "events": st.just({"m.room.power_levels": 0}),
        "users": st.dictionaries(st.sampled_from([ALICE, BOB, CAROL, DAVE]), st.integers(0, 3)),
    },
    optional=dict.fromkeys(SINGLE_LEVELS[1:], LEVELS),
)


@given(st.sampled_from(VERSIONS[:11]), STATED, STATED)
def test_nobody_gains_power_over_their_peers(version: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Whatever passes, nobody rises above the sender, and nobody else of at least their level loses it."""
    if not may_change(version, old, new):
        return

    def level(content: dict[str, Any], user: str) -> int:
        return int(content["users"].get(user, 0))

    own = level(old, BOB)
    assert level(new, BOB) <= own
    for user in (ALICE, CAROL, DAVE):
        assert level(new, user) <= max(own, level(old, user))
        if user in old["users"] and level(old, user) >= own:
            assert level(new, user) == level(old, user)


@given(st.sampled_from(VERSIONS), CONTENT)
def test_changing_nothing_is_always_allowed_to_who_may_send(version: str, content: dict[str, Any]) -> None:
    if version == "12":
        content.get("users", {}).pop(ALICE, None)
    assert may_change(version, content, content)
