"""Client-server API, "m.room.power_levels"; room versions, "accept values as strings" and "as floats"."""

import math
from typing import Any

import pytest

from homeserver.core.power_levels import INFINITE, UNREADABLE, PowerLevels, creators_of, read_level
from homeserver.core.room_versions import ROOM_VERSIONS
from tests.unit.event_factory import ALICE, BOB, CAROL, VERSIONS, create_event, make_event


def levels(version: str, content: dict[str, Any]) -> PowerLevels:
    event = make_event(version, "m.room.power_levels", ALICE, content, "")
    return PowerLevels.of(event, create_event(version))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_defaults_without_a_power_levels_event(version: str) -> None:
    power = PowerLevels.of(None, create_event(version))
    assert power.user_level(ALICE) == (INFINITE if version == "12" else 100)
    assert power.user_level(BOB) == 0
    assert power.event_level("m.room.message", is_state=False) == 0
    assert power.event_level("m.room.name", is_state=True) == 50
    assert (power.invite, power.kick, power.ban, power.redact) == (0, 50, 50, 50)
    assert power.notifications("room") == 50


@pytest.mark.parametrize("version", VERSIONS)
def test_the_defaults_of_an_empty_power_levels_event(version: str) -> None:
    """The creator is then a user as others, where creators are not privileged."""
    power = levels(version, {})
    assert power.user_level(ALICE) == (INFINITE if version == "12" else 0)
    assert power.user_level(BOB) == 0
    assert power.event_level("m.room.message", is_state=False) == 0
    assert power.event_level("m.room.name", is_state=True) == 50
    assert (power.invite, power.kick, power.ban, power.redact) == (0, 50, 50, 50)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_key_is_read(version: str) -> None:
    power = levels(
        version,
        {
            "users": {BOB: 11},
            "users_default": 1,
            "events": {"m.room.name": 12},
            "events_default": 2,
            "state_default": 3,
            "invite": 4,
            "kick": 5,
            "ban": 6,
            "redact": 7,
            "notifications": {"room": 8},
        },
    )
    assert power.user_level(BOB) == 11
    assert power.user_level(CAROL) == 1
    assert power.event_level("m.room.name", is_state=True) == 12
    assert power.event_level("m.room.name", is_state=False) == 12
    assert power.event_level("m.room.message", is_state=False) == 2
    assert power.event_level("m.room.topic", is_state=True) == 3
    assert (power.invite, power.kick, power.ban, power.redact) == (4, 5, 6, 7)
    assert power.notifications("room") == 8
    assert power.notifications("other") == 50


@pytest.mark.parametrize("version", VERSIONS)
def test_who_the_creators_are(version: str) -> None:
    create = create_event(version, creator=ALICE, additional_creators=[BOB, ALICE])
    create.content["creator"] = CAROL
    expected = {CAROL} if int(version) <= 10 else {ALICE} if version == "11" else {ALICE, BOB}
    assert creators_of(create) == expected
    create.content["creator"] = None
    assert creators_of(create) == (set() if int(version) <= 10 else expected)


def test_no_power_levels_event_touches_privileged_creators() -> None:
    create = create_event("12", additional_creators=[BOB])
    event = make_event("12", "m.room.power_levels", ALICE, {"users": {ALICE: 1, BOB: 2, CAROL: 3}}, "")
    power = PowerLevels.of(event, create)
    assert [power.user_level(user) for user in (ALICE, BOB, CAROL)] == [INFINITE, INFINITE, 3]
    assert power.user_level(ALICE) > 2**53


STRINGS = {"50": 50, "000100": 100, "+100": 100, "-100": -100, " 100 ": 100, "\t 00100\n": 100, " +10 ": 10}
NO_STRINGS = ["", " ", "+", "1.0", "1e2", "0x10", "1_000", "5 0", "--5", "+-5", "ten", "٥", "+ 5", "1" * 310]
FLOATS = {50.57: 50, 5.114698e4: 51146, -1.9: -1, 0.999: 0, -0.0: 0, 1e300: int(1e300)}
NEVER: list[Any] = [None, True, False, [], {}, [50], math.nan, math.inf, -math.inf, 10**400, -(10**400)]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_spells_a_level(version: str) -> None:
    rules, number = ROOM_VERSIONS[version], int(version)
    for value in (0, 1, -1, 2**53 - 1, -(2**53) + 1):
        assert read_level(value, rules) == value
    for text, level in STRINGS.items():
        assert read_level(text, rules) == level if number <= 9 else math.isnan(read_level(text, rules))
    for number_with_fraction, level in FLOATS.items():
        read = read_level(number_with_fraction, rules)
        assert (read == level and isinstance(read, int)) if number <= 5 else math.isnan(read)
    for nothing in (*NO_STRINGS, *NEVER):
        assert math.isnan(read_level(nothing, rules)), nothing


def test_a_string_of_any_length_costs_nothing() -> None:
    rules = ROOM_VERSIONS["1"]
    assert read_level("0" * 60_000 + "7", rules) == 7
    assert math.isnan(read_level("7" * 60_000, rules))


@pytest.mark.parametrize("version", VERSIONS[:9])
def test_what_cannot_be_read_permits_nothing(version: str) -> None:
    """CVE-2022-36009: a level that is not understood must not count as 0."""
    names = ("users_default", "events_default", "state_default", "invite", "kick", "ban", "redact")
    power = levels(version, dict.fromkeys(names, "high"))
    for required in (power.invite, power.kick, power.ban, power.redact):
        assert not required <= 2**53
        assert not required <= INFINITE
    assert not power.user_level(BOB) >= -(2**53)
    assert not power.event_level("m.room.message", is_state=False) <= INFINITE
    assert not power.event_level("m.room.name", is_state=True) <= INFINITE
    tables: list[Any] = [None, "all", [], 50]
    for table in tables:
        power = levels(version, {"users": table, "events": table, "notifications": table})
        assert math.isnan(power.user_level(BOB))
        assert math.isnan(power.event_level("m.room.message", is_state=False))
        assert math.isnan(power.event_level("m.room.name", is_state=True))
        assert math.isnan(power.notifications("room"))
    assert math.isnan(UNREADABLE)
