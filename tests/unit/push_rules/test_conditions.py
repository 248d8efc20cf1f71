"""Client-server API, "Push Rules", "Conditions"."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.power_levels import PowerLevels
from homeserver.core.push_rules import EventFacts, UserFacts
from homeserver.core.push_rules.conditions import compile_condition
from homeserver.core.room_versions import ROOM_VERSIONS

ALICE = UserID("@alice:example.com")


def facts(
    content: JsonObject | None = None,
    *,
    joined_members: int = 3,
    may_notify: Callable[[str], bool] = lambda _: False,
    state_key: str | None = None,
    redacts: str | None = None,
) -> EventFacts:
    return EventFacts(
        event_id=EventID("$event"),
        room_id=RoomID("!Room:example.com"),
        type="m.room.topic",
        sender=UserID("@sender:example.com"),
        state_key=state_key,
        content={} if content is None else content,
        origin_server_ts=1234,
        joined_members=joined_members,
        may_notify=may_notify,
        redacts=None if redacts is None else EventID(redacts),
    )


def holds(condition: JsonObject, event: EventFacts, *, display_name: str | None = None) -> bool:
    return compile_condition(condition).holds(event, UserFacts(ALICE, display_name))


def event_match(key: str, pattern: str) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


@pytest.mark.parametrize(
    ("topic", "matches"),
    [("Lunch plans", True), ("LUNCH", True), (" lunch", False), ("lunc", False), (None, False)],
)
def test_event_match_has_the_specifications_examples(topic: str | None, matches: bool) -> None:
    assert holds(event_match("content.topic", "lunc?*"), facts({"topic": topic})) is matches


@pytest.mark.parametrize("pattern", ["*", "", "null", "5", "true"])
@pytest.mark.parametrize("value", [None, 5, True, [], ["*"], {}, 1.5])
def test_event_match_matches_strings_only(pattern: str, value: JsonValue) -> None:
    """ "The condition will not match, even if `pattern` is `*`." """
    assert not holds(event_match("content.x", pattern), facts({"x": value}))
    assert not holds(event_match("content.x", pattern), facts({}))


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("type", "m.room.topic"),
        ("type", "m.room.*"),
        ("sender", "@sender:example.com"),
        ("room_id", "!room:EXAMPLE.com"),
        ("event_id", "$event"),
        ("state_key", ""),
        ("redacts", "$other"),
        (r"content.m\.x.y", "z"),
    ],
)
def test_event_match_sees_what_clients_see(key: str, pattern: str) -> None:
    event = facts({"m.x": {"y": "Z"}}, state_key="", redacts="$other")
    assert holds(event_match(key, pattern), event)
    assert not holds(event_match(key, pattern + "x"), event)


@pytest.mark.parametrize(
    "key", ["state_key", "redacts", "depth", "content", "", "type.x", "joined_members", "unsigned"]
)
def test_event_match_sees_nothing_else(key: str) -> None:
    assert not holds(event_match(key, "*"), facts({"x": "y"}))


def test_only_the_body_is_matched_by_words() -> None:
    assert holds(event_match("content.body", "cake"), facts({"body": "a cake!"}))
    assert not holds(event_match("content.body", "cake"), facts({"body": "cakes"}))
    assert not holds(event_match("content.title", "cake"), facts({"title": "a cake!"}))
    assert not holds(event_match("content.x.body", "cake"), facts({"x": {"body": "a cake!"}}))
    assert not holds(event_match(r"content\.body", "cake"), facts({"body": "cake"}))


@pytest.mark.parametrize(
    ("kind", "value"), [("event_property_is", True), ("event_property_is", "x"), ("event_property_is", None)]
)
def test_event_property_is_has_the_specifications_example(kind: str, value: JsonValue) -> None:
    condition: JsonObject = {"kind": kind, "key": r"content.m\.federate", "value": value}
    assert holds(condition, facts({"m.federate": value}))
    assert not holds(condition, facts({}))
    assert not holds(condition, facts({"m": {"federate": value}}))


SCALARS: list[JsonValue] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    "",
    "0",
    "1",
    "true",
    "null",
    2**53 - 1,
    -(2**53) + 1,
]
COMPOUND: list[JsonValue] = [[], {}, [1], {"a": 1}, 0.0, 1.0, 1.5]


@pytest.mark.parametrize("value", SCALARS)
def test_values_match_exactly_and_types_are_not_cast(value: JsonValue) -> None:
    for other in SCALARS + COMPOUND:
        same = type(other) is type(value) and other == value
        condition: JsonObject = {"kind": "event_property_is", "key": "content.x", "value": value}
        assert holds(condition, facts({"x": other})) is same
        condition = {"kind": "event_property_contains", "key": "content.x", "value": value}
        assert holds(condition, facts({"x": ["pad", other, [value], {"x": value}]})) is (
            same or value == "pad"
        )
        assert not holds(condition, facts({"x": other})) or other == [value]


@pytest.mark.parametrize("kind", ["event_property_is", "event_property_contains"])
@pytest.mark.parametrize("value", [*COMPOUND, 2**53, -(2**53)])
def test_other_values_never_match(kind: str, value: JsonValue) -> None:
    condition: JsonObject = {"kind": kind, "key": "content.x", "value": value}
    assert not holds(condition, facts({"x": value}))
    assert not holds(condition, facts({"x": [value]}))


def test_event_property_contains_has_the_specifications_example() -> None:
    condition: JsonObject = {
        "kind": "event_property_contains",
        "key": "content.alt_aliases",
        "value": "#myroom:example.com",
    }
    assert holds(condition, facts({"alt_aliases": ["#somewhere:example.org", "#myroom:example.com"]}))
    assert not holds(condition, facts({"alt_aliases": ["#other:example.com"]}))
    assert not holds(condition | {"value": ":example.com"}, facts({"alt_aliases": ["#myroom:example.com"]}))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("2", {2}),
        ("==2", {2}),
        ("<2", {0, 1}),
        ("<=2", {0, 1, 2}),
        (">2", {3, 4}),
        (">=2", {2, 3, 4}),
        ("02", {2}),
        ("", set()),
        ("=2", set()),
        ("!=2", set()),
        ("< 2", set()),
        (" 2", set()),
        ("2 ", set()),
        ("-2", set()),
        ("+2", set()),
        ("2.0", set()),
        ("٢", set()),
        ("9" * 5000, set()),
    ],
)
def test_room_member_count(text: str, counts: set[int]) -> None:
    condition: JsonObject = {"kind": "room_member_count", "is": text}
    assert {count for count in range(5) if holds(condition, facts(joined_members=count))} == counts


def test_sender_notification_permission_asks_for_its_key() -> None:
    condition: JsonObject = {"kind": "sender_notification_permission", "key": "room"}
    assert holds(condition, facts(may_notify=lambda key: key == "room"))
    assert not holds(condition, facts(may_notify=lambda key: key != "room"))


@pytest.mark.parametrize(
    ("name", "body", "matches"),
    [
        ("Alice", "hello alice!", True),
        ("Alice", "hello alices", False),
        ("A*e", "hello alice", False),
        ("A*e", "hello a*e", True),
        ("A?", "a?", True),
        ("", "hello", False),
        (None, "hello", False),
    ],
)
def test_contains_display_name(name: str | None, body: str, matches: bool) -> None:
    condition: JsonObject = {"kind": "contains_display_name"}
    assert holds(condition, facts({"body": body}), display_name=name) is matches
    assert not holds(condition, facts({"text": body}), display_name=name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = [
    "event_match",
    "event_property_is",
    "event_property_contains",
    "contains_display_name",
    "room_member_count",
    "sender_notification_permission",
    "device",
]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "kind": st.sampled_from(KINDS) | JSON,
            "key": st.sampled_from(["content.body", "content.a", "type"]) | JSON,
            "pattern": JSON,
            "is": JSON,
            "value": JSON,
        },
    ),
    st.dictionaries(st.sampled_from(["body", "a"]), JSON),
)
def test_no_condition_breaks_anything(condition: JsonObject, content: JsonObject) -> None:
    assert holds(condition, facts(content), display_name="x") in (True, False)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"kind": "device", "profile_tag": "x"},
        {"kind": 5},
        {"kind": ["event_match"]},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "pattern": "*"},
        {"kind": "event_match", "key": "type", "pattern": None},
        {"kind": "event_property_is", "key": "content.x"},
        {"kind": "event_property_contains", "value": 1},
        {"kind": "room_member_count"},
        {"kind": "room_member_count", "is": 3},
        {"kind": "sender_notification_permission"},
    ],
)
def test_unrecognised_and_malformed_conditions_never_match(condition: JsonObject) -> None:
    assert not holds(condition, facts({"x": None}, may_notify=lambda _: True))


def event(type: str, content: JsonObject, sender: str, state_key: str | None = None) -> Event:
    pdu: JsonObject = {
        "type": type,
        "content": content,
        "sender": sender,
        "room_id": "!room:example.com",
        "origin_server_ts": 1,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event.from_pdu(pdu, ROOM_VERSIONS["10"], event_id=EventID("$" + type))


@pytest.mark.parametrize(
    ("levels", "permitted"),
    [
        (None, False),
        ({}, False),
        ({"users": {"@a:x": 49}}, False),
        ({"users": {"@a:x": 50}}, True),
        ({"notifications": {"room": 0}}, True),
        ({"users_default": 20, "notifications": {"room": 20}}, True),
        ({"users": {"@a:x": 90}, "notifications": {"room": 91}}, False),
        ({"users": {"@a:x": 50}, "notifications": {"other": 100}}, True),
    ],
)
def test_the_senders_level_is_that_of_the_room(levels: JsonObject | None, permitted: bool) -> None:
    """`m.room.power_levels`: the level for `room` is 50 if unspecified."""
    create = event("m.room.create", {"creator": "@creator:x"}, "@creator:x", "")
    powers = None if levels is None else event("m.room.power_levels", levels, "@creator:x", "")
    message = event("m.room.message", {"body": "x"}, "@a:x")
    seen = EventFacts.of(message, joined_members=2, power_levels=PowerLevels.of(powers, create))
    condition: JsonObject = {"kind": "sender_notification_permission", "key": "room"}
    assert holds(condition, seen) is permitted
    assert holds(event_match("content.body", "x"), seen)
