"""Client-server API, "Room event format" and "Stripped state"."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.client_event import (
    ClientEventBytes,
    federation_event,
    prune_stripped_state,
    stripped_state,
)
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject, JsonValue, canonical

EVENT_ID = EventID("$26RqwJMLw-yds1GAH_QxjHRC1Da9oasK0e5VLnck_45")
ROOM_ID = RoomID("!jEsUZKDJdhlrceRyVU:example.org")


def pdu_of(**changes: JsonValue) -> JsonObject:
    pdu: JsonObject = {
        "auth_events": ["$a", "$b"],
        "content": {"body": "Hello", "msgtype": "m.text"},
        "depth": 12,
        "hashes": {"sha256": "x"},
        "origin_server_ts": 1_632_489_532_305,
        "prev_events": ["$c"],
        "room_id": ROOM_ID,
        "sender": "@example:example.org",
        "signatures": {"example.org": {"ed25519:1": "y"}},
        "type": "m.room.message",
    }
    return {key: value for key, value in (pdu | changes).items() if value is not None}


def built(pdu: JsonObject, *, redacts_in_content: bool = True) -> ClientEventBytes:
    return ClientEventBytes.of(
        canonical(pdu), event_id=EVENT_ID, room_id=ROOM_ID, redacts_in_content=redacts_in_content
    )


def rendered(event: ClientEventBytes, with_room_id: Any = True, **more: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(
        event.render(now_ts=event.origin_server_ts + 1257, with_room_id=with_room_id, **more)
    )
    return parsed


def test_a_message() -> None:
    assert rendered(built(pdu_of())) == {
        "content": {"body": "Hello", "msgtype": "m.text"},
        "event_id": EVENT_ID,
        "origin_server_ts": 1_632_489_532_305,
        "room_id": ROOM_ID,
        "sender": "@example:example.org",
        "type": "m.room.message",
        "unsigned": {"age": 1257},
    }


def test_the_room_is_left_out_where_it_is_said_elsewhere() -> None:
    event = built(pdu_of())
    with_room = rendered(event)
    del with_room["room_id"]
    assert rendered(event, with_room_id=False) == with_room


@pytest.mark.parametrize("state_key", ["", "@user:example.org", 'quote"\\\u2028'])
def test_state_events_have_their_state_key(state_key: str) -> None:
    event = rendered(built(pdu_of(type="m.room.member", state_key=state_key)))
    assert event["state_key"] == state_key
    assert "state_key" not in rendered(built(pdu_of()))


def test_everything_that_unsigned_can_have() -> None:
    event = rendered(
        built(pdu_of(state_key="")),
        transaction_id='m"1\\',
        membership="join",
        prev_content=b'{"name":"before"}',
        replaces_state=EventID("$before"),
        redacted_because=b'{"type":"m.room.redaction"}',
        extra=b'"m.relations":{"m.thread":{"count":7}},"invite_room_state":[]',
    )
    assert event["unsigned"] == {
        "age": 1257,
        "transaction_id": 'm"1\\',
        "membership": "join",
        "prev_content": {"name": "before"},
        "replaces_state": "$before",
        "redacted_because": {"type": "m.room.redaction"},
        "m.relations": {"m.thread": {"count": 7}},
        "invite_room_state": [],
    }


@pytest.mark.parametrize("option", ["transaction_id", "membership", "replaces_state"])
def test_each_member_of_unsigned_stands_alone(option: str) -> None:
    assert rendered(built(pdu_of()), **{option: "x"})["unsigned"] == {"age": 1257, option: "x"}


def test_an_event_from_the_future_has_a_negative_age() -> None:
    """The age "may be incorrect", and even negative."""
    event = built(pdu_of())
    assert (
        json.loads(event.render(now_ts=event.origin_server_ts - 5, with_room_id=True))["unsigned"]["age"]
        == -5
    )


def test_nothing_else_of_the_pdu_is_shown() -> None:
    pdu = pdu_of(
        origin="example.org", redacts="$x", unsigned={"age": 1, "secret": 1}, event_id="$other", extra=[1]
    )
    assert set(rendered(built(pdu))) == {
        "content",
        "event_id",
        "origin_server_ts",
        "room_id",
        "sender",
        "type",
        "unsigned",
    }
    assert rendered(built(pdu))["event_id"] == EVENT_ID


def test_a_create_event_without_a_room_id_gets_it() -> None:
    """Room version 12."""
    pdu = pdu_of(type="m.room.create", state_key="", room_id=None)
    assert rendered(built(pdu))["room_id"] == ROOM_ID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CONTENTS = st.dictionaries(st.text(max_size=8), JSON, max_size=5)


@given(
    CONTENTS,
    st.none() | st.text(max_size=10),
    st.text(min_size=1, max_size=10),
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
    st.booleans(),
    st.none() | st.text(max_size=10),
)
def test_what_is_joined_is_what_would_be_encoded(
    content: JsonObject,
    state_key: str | None,
    type: str,
    origin_server_ts: int,
    now_ts: int,
    with_room_id: bool,
    transaction_id: str | None,
) -> None:
    pdu = pdu_of(content=content, state_key=state_key, type=type, origin_server_ts=origin_server_ts)
    expected: dict[str, Any] = {
        "content": content,
        "event_id": EVENT_ID,
        "origin_server_ts": origin_server_ts,
        "sender": "@example:example.org",
        "type": type,
        "unsigned": {"age": now_ts - origin_server_ts},
    }
    if state_key is not None:
        expected["state_key"] = state_key
    if with_room_id:
        expected["room_id"] = ROOM_ID
    if transaction_id is not None:
        expected["unsigned"]["transaction_id"] = transaction_id
    event = built(pdu).render(now_ts=now_ts, with_room_id=with_room_id, transaction_id=transaction_id)
    assert json.loads(event) == expected
    assert msgspec.json.decode(event) == expected


def test_rendering_does_not_change_the_event() -> None:
    event = built(pdu_of())
    first = event.render(now_ts=5, with_room_id=True)
    event.render(now_ts=7, with_room_id=False, transaction_id="x", extra=b'"y":1')
    assert event.render(now_ts=5, with_room_id=True) == first


# Redactions: room version 11, "Moving the `redacts` property".


def test_redactions_of_room_version_11_get_redacts_beside_the_content() -> None:
    pdu = pdu_of(type="m.room.redaction", content={"redacts": "$r", "reason": "spam"})
    event = rendered(built(pdu, redacts_in_content=True))
    assert event["redacts"] == "$r"
    assert event["content"] == {"redacts": "$r", "reason": "spam"}


def test_redactions_of_older_room_versions_get_redacts_in_the_content() -> None:
    pdu = pdu_of(type="m.room.redaction", content={"reason": "spam"}, redacts="$r")
    event = rendered(built(pdu, redacts_in_content=False))
    assert event["redacts"] == "$r"
    assert event["content"] == {"redacts": "$r", "reason": "spam"}


@pytest.mark.parametrize(("redacts_in_content", "right"), [(True, "$content"), (False, "$top")])
def test_the_place_that_the_room_version_does_not_read_cannot_mislead_clients(
    redacts_in_content: bool, right: str
) -> None:
    pdu = pdu_of(type="m.room.redaction", content={"redacts": "$content"}, redacts="$top")
    event = rendered(built(pdu, redacts_in_content=redacts_in_content))
    assert (event["redacts"], event["content"]["redacts"]) == (right, right)


@pytest.mark.parametrize("redacts_in_content", [True, False])
@pytest.mark.parametrize("redacts", [None, 1, {}])
def test_redactions_that_redact_nothing_are_left_alone(redacts_in_content: bool, redacts: JsonValue) -> None:
    content: JsonObject = {"reason": "x"}
    if redacts is not None and redacts_in_content:
        content["redacts"] = redacts
    pdu = pdu_of(type="m.room.redaction", content=content, redacts=None if redacts_in_content else redacts)
    event = rendered(built(pdu, redacts_in_content=redacts_in_content))
    assert "redacts" not in event
    assert event["content"] == content


def test_other_events_keep_a_redacts_of_their_own() -> None:
    event = rendered(built(pdu_of(content={"redacts": "$x"})))
    assert event["content"] == {"redacts": "$x"}
    assert "redacts" not in event


# Other forms


def test_the_federation_format_is_the_event_as_it_came() -> None:
    pdu = canonical(pdu_of())
    assert federation_event(pdu) == pdu
    with_unsigned = json.loads(federation_event(pdu, b'"age":5,"membership":"join"'))
    assert with_unsigned == pdu_of() | {"unsigned": {"age": 5, "membership": "join"}}


def test_stripped_state_has_four_properties() -> None:
    pdu = pdu_of(type="m.room.name", state_key="", content={"name": "é"})
    expected: JsonObject = {
        "content": {"name": "é"},
        "sender": "@example:example.org",
        "state_key": "",
        "type": "m.room.name",
    }
    assert json.loads(stripped_state(canonical(pdu))) == expected
    pruned = prune_stripped_state(pdu | {"unsigned": {"x": 1}, "event_id": "$x"})
    assert pruned is not None
    assert json.loads(pruned) == expected
    assert prune_stripped_state(expected) == pruned


def test_only_state_has_a_stripped_form() -> None:
    with pytest.raises(ValueError, match="state_key"):
        stripped_state(canonical(pdu_of()))
    assert prune_stripped_state(pdu_of()) is None


@pytest.mark.parametrize("key", ["content", "sender", "state_key", "type"])
@pytest.mark.parametrize("value", [None, 1, [], True])
def test_malformed_stripped_state_is_not_passed_on(key: str, value: JsonValue) -> None:
    """ "Servers cannot pass through what they receive over federation to clients as stripped state." """
    whole: JsonObject = {"content": {}, "sender": "@a:b", "state_key": "", "type": "m.room.name"}
    assert prune_stripped_state(whole) is not None
    assert prune_stripped_state(whole | {key: value}) is None
    del whole[key]
    assert prune_stripped_state(whole) is None
