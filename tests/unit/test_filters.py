"""Client-server API, "Filtering", and the definitions of filters."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import BadJson, MatrixError, NotJson, TooLarge
from homeserver.core.filters import (
    MAX_BYTES,
    CompiledFilter,
    EventFilter,
    EventFormat,
    EventMatcher,
    Filter,
    Projection,
    RoomEventFilter,
    RoomEventMatcher,
    RoomMatcher,
    parse_filter,
    parse_room_event_filter,
)
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject

ALICE, BOB = "@alice:example.com", "@bob:example.com"

# The example of `POST /user/{userId}/filter`.
EXAMPLE: dict[str, Any] = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"]},
        "timeline": {
            "limit": 10,
            "types": ["m.room.message"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
        "ephemeral": {
            "types": ["m.receipt", "m.typing"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
}


def compiled(filter: dict[str, Any]) -> CompiledFilter:
    return CompiledFilter.of(parse_filter(json.dumps(filter).encode()))


def test_the_specifications_example() -> None:
    chosen = compiled(EXAMPLE)
    assert chosen.timeline.events.limit == 10
    assert chosen.timeline.matches("m.room.message", BOB, has_url=False)
    assert not chosen.timeline.matches("m.room.message", "@spam:example.com", has_url=False)
    assert not chosen.timeline.matches("m.room.name", BOB, has_url=False)
    assert chosen.state.matches("m.room.name", BOB, has_url=False)
    assert not chosen.state.matches("m.roomname", BOB, has_url=False)
    assert not chosen.state.rooms.matches(RoomID("!726s6s6q:example.com"))
    assert chosen.state.rooms.matches(RoomID("!other:example.com"))
    assert chosen.rooms.matches(RoomID("!726s6s6q:example.com"))
    assert chosen.presence.matches("m.presence", BOB)
    assert not chosen.presence.matches("m.presence", ALICE)
    assert chosen.account_data.matches_all
    assert chosen.event_format is EventFormat.CLIENT
    assert chosen.projection is not None


def test_the_empty_filter_restricts_nothing() -> None:
    chosen = compiled({})
    assert chosen == CompiledFilter.of(Filter())
    assert chosen.presence.matches_all
    assert chosen.account_data.matches_all
    assert chosen.rooms.matches_all
    for rooms in (chosen.ephemeral, chosen.state, chosen.timeline, chosen.room_account_data):
        assert rooms.matches_all
        assert rooms.matches("any", None, has_url=True)
        assert not rooms.lazy_load_members
        assert not rooms.include_redundant_members
        assert not rooms.unread_thread_notifications
        assert rooms.relations is None
    assert not chosen.include_leave
    assert chosen.projection is None
    assert chosen.event_format is EventFormat.CLIENT


def test_a_filter_is_written_as_it_was_read_but_for_what_is_not_known() -> None:
    chosen = parse_filter(json.dumps(EXAMPLE | {"org.example": 1}).encode())
    assert parse_filter(msgspec.json.encode(chosen)) == chosen
    assert json.loads(msgspec.json.encode(chosen)) == {
        key: value for key, value in EXAMPLE.items() if key != "event_format"
    }


@pytest.mark.parametrize(
    ("filter", "path"),
    [
        ({"event_fields": "type"}, "$.event_fields"),
        ({"event_fields": [1]}, "$.event_fields[0]"),
        ({"event_format": "other"}, "$.event_format"),
        ({"presence": {"senders": ["bob"]}}, "$.presence.senders[0]"),
        ({"account_data": {"not_senders": [ALICE, "!x:y"]}}, "$.account_data.not_senders[1]"),
        ({"room": {"rooms": ["#alias:x"]}}, "$.room.rooms[0]"),
        ({"room": {"not_rooms": "!x:y"}}, "$.room.not_rooms"),
        ({"room": {"timeline": {"limit": -1}}}, "$.room.timeline.limit"),
        ({"room": {"timeline": {"limit": "10"}}}, "$.room.timeline.limit"),
        ({"room": {"timeline": {"limit": 1.5}}}, "$.room.timeline.limit"),
        ({"room": {"timeline": {"limit": True}}}, "$.room.timeline.limit"),
        ({"room": {"state": {"lazy_load_members": "yes"}}}, "$.room.state.lazy_load_members"),
        ({"room": {"state": {"contains_url": 1}}}, "$.room.state.contains_url"),
        ({"room": {"ephemeral": {"types": [None]}}}, "$.room.ephemeral.types[0]"),
        ({"room": []}, "$.room"),
    ],
)
def test_malformed_filters_are_refused_with_the_path(filter: dict[str, Any], path: str) -> None:
    with pytest.raises(BadJson) as refusal:
        parse_filter(json.dumps(filter).encode())
    assert f"`{path}`" in refusal.value.message


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b'{"room":}', b"\xff"])
def test_what_is_no_json_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NotJson):
        parse_filter(data)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"x"', b"null"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadJson):
        parse_filter(data)
    with pytest.raises(BadJson):
        parse_room_event_filter(data)


def test_oversized_and_bottomless_filters_are_refused() -> None:
    with pytest.raises(TooLarge):
        parse_filter(b'{"event_fields":["' + b"x" * MAX_BYTES + b'"]}')
    bottomless = b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    with pytest.raises(MatrixError):
        parse_filter(bottomless)


@given(st.binary(max_size=200))
def test_no_bytes_break_anything(data: bytes) -> None:
    with contextlib.suppress(BadJson, NotJson):
        CompiledFilter.of(parse_filter(data))


# Events

TYPES = ["m.room.message", "m.room.member", "m.typing", "org.example.a?b", "*", ""]
PATTERNS = [
    *TYPES,
    "m.*",
    "*.message",
    "m.*.message",
    "m.room.m*",
    "M.room.message",
    "org.example.a?b",
    "**",
    "*o*m*",
]
SENDERS = [ALICE, BOB]


def slowly_matches_type(pattern: str, type: str) -> bool:
    """ "A `*` can be used as a wildcard to match any sequence of characters", and nothing else is special."""
    if not pattern:
        return not type
    if pattern[0] == "*":
        return any(slowly_matches_type(pattern[1:], type[at:]) for at in range(len(type) + 1))
    return type[:1] == pattern[0] and slowly_matches_type(pattern[1:], type[1:])


LISTS = st.none() | st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple)
SENDER_LISTS = st.none() | st.lists(st.sampled_from(SENDERS), max_size=2).map(tuple)
EVENT_FILTERS = st.builds(
    EventFilter, types=LISTS, not_types=LISTS, senders=SENDER_LISTS, not_senders=SENDER_LISTS
)


@given(EVENT_FILTERS, st.sampled_from(TYPES), st.sampled_from([*SENDERS, None]))
def test_events_pass_as_the_definition_says(filter: EventFilter, type: str, sender: str | None) -> None:
    def listed(patterns: tuple[str, ...]) -> bool:
        return any(slowly_matches_type(pattern, type) for pattern in patterns)

    expected = (
        (filter.types is None or listed(filter.types))
        and not listed(filter.not_types or ())
        and (filter.senders is None or sender in filter.senders)
        and sender not in (filter.not_senders or ())
    )
    matcher = EventMatcher.of(filter)
    assert matcher.matches(type, sender) is expected
    if matcher.matches_all:
        assert expected
    if matcher.matches_none:
        assert not expected


@pytest.mark.parametrize(
    ("filter", "matches_all", "matches_none"),
    [
        ({}, True, False),
        ({"limit": 5}, True, False),
        ({"not_types": [], "not_senders": []}, True, False),
        ({"types": []}, False, True),
        ({"senders": []}, False, True),
        ({"not_types": ["*"]}, False, True),
        ({"types": ["m.x"]}, False, False),
        ({"not_senders": [BOB]}, False, False),
    ],
)
def test_what_restricts_nothing_or_everything_is_known(
    filter: dict[str, Any], matches_all: bool, matches_none: bool
) -> None:
    matcher = compiled({"presence": filter}).presence
    assert (matcher.matches_all, matcher.matches_none) == (matches_all, matches_none)


@pytest.mark.parametrize(
    ("limit", "clamped"), [(None, 20), (0, 1), (1, 1), (50, 50), (100, 100), (101, 100), (10**30, 100)]
)
def test_limits_are_clamped(limit: int | None, clamped: int) -> None:
    assert EventMatcher.of(EventFilter(limit=limit)).clamped_limit(20, 100) == clamped


ROOMS = [RoomID("!a:x"), RoomID("!b:x"), RoomID("!hash")]
ROOM_LISTS = st.none() | st.lists(st.sampled_from(ROOMS), max_size=3).map(tuple)


@given(ROOM_LISTS, ROOM_LISTS, st.sampled_from(ROOMS))
def test_rooms_pass_as_the_definition_says(
    rooms: tuple[RoomID, ...] | None, not_rooms: tuple[RoomID, ...] | None, room_id: RoomID
) -> None:
    expected = (rooms is None or room_id in rooms) and room_id not in (not_rooms or ())
    assert RoomMatcher.of(rooms, not_rooms).matches(room_id) is expected


@pytest.mark.parametrize(
    ("contains_url", "with_url", "without"), [(None, True, True), (True, True, False), (False, False, True)]
)
def test_contains_url(contains_url: bool | None, with_url: bool, without: bool) -> None:
    matcher = RoomEventMatcher.of(RoomEventFilter(contains_url=contains_url))
    assert matcher.matches("m.room.message", BOB, has_url=True) is with_url
    assert matcher.matches("m.room.message", BOB, has_url=False) is without
    assert matcher.matches_all is (contains_url is None)


def test_members_are_lazily_loaded_on_demand() -> None:
    chosen = compiled({"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}})
    assert chosen.state.lazy_load_members
    assert chosen.state.include_redundant_members
    assert chosen.state.matches_all
    assert not chosen.timeline.lazy_load_members


def test_redundant_members_mean_nothing_unless_members_are_lazily_loaded() -> None:
    """ "Does not apply unless `lazy_load_members` is `true`." """
    assert not compiled(
        {"room": {"state": {"include_redundant_members": True}}}
    ).state.include_redundant_members


def test_the_other_flags() -> None:
    chosen = compiled({"room": {"include_leave": True, "timeline": {"unread_thread_notifications": True}}})
    assert chosen.include_leave
    assert chosen.timeline.unread_thread_notifications
    assert compiled({"event_format": "federation"}).event_format is EventFormat.FEDERATION


def test_related_events() -> None:
    chosen = parse_room_event_filter(
        json.dumps({"related_by_rel_types": ["m.thread"], "related_by_senders": [ALICE]}).encode()
    )
    matcher = RoomEventMatcher.of(chosen)
    assert not matcher.matches_all
    assert matcher.relations is not None
    assert matcher.relations.matches("m.thread", UserID(ALICE))
    assert not matcher.relations.matches("m.thread", UserID(BOB))
    assert not matcher.relations.matches("m.annotation", UserID(ALICE))
    only_type = RoomEventMatcher.of(RoomEventFilter(related_by_rel_types=("m.thread",))).relations
    assert only_type is not None
    assert only_type.matches("m.thread", UserID(BOB))


def test_null_counts_as_absent_in_lists() -> None:
    assert compiled({"presence": {"types": None, "not_types": None, "limit": None}}).presence.matches_all


# Fields

EVENT: JsonObject = {
    "type": "m.room.message",
    "sender": ALICE,
    "content": {
        "body": "x",
        "m.relates_to": {"rel_type": "m.thread", "event_id": "$a"},
        "a\\b": 1,
        "list": [{"b": 1}],
    },
    "unsigned": {"age": 5},
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["type"], {"type": "m.room.message"}),
        (["content.body"], {"content": {"body": "x"}}),
        (["content.body", "content"], {"content": EVENT["content"]}),
        (["content", "content.body"], {"content": EVENT["content"]}),
        ([r"content.m\.relates_to.rel_type"], {"content": {"m.relates_to": {"rel_type": "m.thread"}}}),
        ([r"content.a\\b", "unsigned.age"], {"content": {"a\\b": 1}, "unsigned": {"age": 5}}),
        (["content.m.relates_to"], {}),
        (["content.missing", "missing", "sender.x", "content.list.b", "content.list.0"], {}),
        (["", ".", "content."], {}),
    ],
)
def test_fields(fields: list[str], expected: JsonObject) -> None:
    before = json.dumps(EVENT)
    assert Projection.of(fields).apply(EVENT) == expected
    assert json.dumps(EVENT) == before


def test_no_fields_means_all() -> None:
    assert compiled({"event_fields": []}).projection is None


NAMES = st.sampled_from(["a", "b", "c.d"])
OBJECTS = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
).filter(lambda value: isinstance(value, dict))
FIELDS = st.lists(
    st.lists(NAMES.map(lambda name: name.replace(".", "\\.")), min_size=1, max_size=3).map(".".join),
    max_size=4,
)


def leaves(value: object, path: tuple[str, ...] = ()) -> set[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict) and value:
        return {leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))}
    return {(path, json.dumps(value))}


@given(OBJECTS, FIELDS)
def test_what_is_kept_is_what_lies_at_or_below_the_wanted_paths(event: JsonObject, fields: list[str]) -> None:
    wanted = [
        tuple(name.replace("\\", "") for name in field.replace("\\.", "\\").split(".")) for field in fields
    ]
    wanted = [tuple(name if name != "cd" else "c.d" for name in path) for path in wanted]
    expected = {
        (path, value) for path, value in leaves(event) if any(path[: len(names)] == names for names in wanted)
    }
    projected = Projection.of(fields).apply(event)
    assert (leaves(projected) if projected else set()) == expected


def test_deep_and_many_paths_take_no_time() -> None:
    Projection.of(["a." * 30_000]).apply(EVENT)
    assert Projection.of([f"content.x{number}" for number in range(5_000)] + ["type"]).apply(EVENT) == {
        "type": "m.room.message"
    }
