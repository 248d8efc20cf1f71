"""The event format of each room version; client-server API, "Size limits"."""

import copy
import json as standard_json
from collections.abc import Callable
from typing import Any

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import BadJson, TooLarge
from homeserver.core.event import Event
from homeserver.core.event_format import MAX_EVENT_BYTES, build_event, check_event_format, max_depth
from homeserver.core.hashes import content_hash, encode_base64, event_id_of, has_content_hash, reference_hash
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue, decode_object
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import SigningKey, sign_event, verify_event

VERSIONS = list(ROOM_VERSIONS)
PAIRED = ["1", "2"]
LENIENT = ["1", "2", "3", "4", "5"]
STRICT = VERSIONS[5:]

KEY = SigningKey.generate("a_abcd", seed=bytes(range(32)))
SERVER = "example.org"
HASH_ROOM = "!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
PREV = EventID("$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg")
AUTH = EventID("$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk")


def pdu_of(identifier: str) -> JsonObject:
    """A message event in the format of a room version."""
    pdu: JsonObject = {
        "auth_events": [AUTH],
        "content": {"body": "hello", "msgtype": "m.text"},
        "depth": 12,
        "hashes": {"sha256": "thishashcoversallfieldsincasethisisredacted"},
        "origin_server_ts": 1404838188000,
        "prev_events": [PREV],
        "room_id": HASH_ROOM if identifier == "12" else "!room:example.org",
        "sender": "@alice:example.org",
        "signatures": {"example.org": {"ed25519:1": "x"}},
        "type": "m.room.message",
    }
    if identifier in PAIRED:
        pdu["event_id"] = "$a4ecee13e2accdadf56c1025:example.com"
        pdu["auth_events"] = [["$af232176:example.org", {"sha256": "abase64encodedsha256hash"}]]
        pdu["prev_events"] = [["$af232176:example.org", {"sha256": "abase64encodedsha256hash"}]]
    return pdu


def refuse(identifier: str, error: type[Exception] = BadJson, /, **changes: Any) -> None:
    with pytest.raises(error):
        check_event_format({**pdu_of(identifier), **changes}, ROOM_VERSIONS[identifier])


def accept(identifier: str, /, **changes: Any) -> None:
    check_event_format({**pdu_of(identifier), **changes}, ROOM_VERSIONS[identifier])


# The check


@pytest.mark.parametrize("identifier", VERSIONS)
def test_a_proper_event_gives_its_canonical_json(identifier: str) -> None:
    pdu = pdu_of(identifier)
    expected = canonicaljson.encode_canonical_json(pdu)
    assert check_event_format(pdu, ROOM_VERSIONS[identifier]) == expected
    pdu["unsigned"] = {"age": 1.5}
    assert check_event_format(pdu, ROOM_VERSIONS[identifier]) == expected
    assert pdu["unsigned"] == {"age": 1.5}


@pytest.mark.parametrize("identifier", VERSIONS)
def test_every_required_key(identifier: str) -> None:
    for key in pdu_of(identifier):
        pdu = pdu_of(identifier)
        del pdu[key]
        with pytest.raises(BadJson):
            check_event_format(pdu, ROOM_VERSIONS[identifier])


@pytest.mark.parametrize("identifier", VERSIONS)
def test_the_type_of_every_key(identifier: str) -> None:
    wrong: list[JsonValue] = [None, True, 0, -1, "", "x", [], {}, [None], {"a": None}, 1.5]
    fine: dict[str, list[JsonValue]] = {
        "content": [{}, {"a": None}],
        "type": ["", "x"],
        "state_key": ["", "x"],
        "origin_server_ts": [0, -1],
        "depth": [0],
        "prev_events": [[]],
        "auth_events": [[]],
        "signatures": [{}],
    }
    for key in [*pdu_of(identifier), "state_key"]:
        for value in wrong:
            if value in fine.get(key, []) and not isinstance(value, bool):
                accept(identifier, **{key: value})
            else:
                refuse(identifier, **{key: value})


@pytest.mark.parametrize("identifier", VERSIONS)
def test_unknown_keys_are_no_fault(identifier: str) -> None:
    accept(identifier, origin="example.org", prev_state=[], **{"org.example.extra": {"a": [1]}})


@pytest.mark.parametrize("identifier", VERSIONS)
@pytest.mark.parametrize("key", ["type", "state_key"])
@pytest.mark.parametrize("letter", ["a", "é", "日", "\U0001f600"])
def test_short_keys_have_255_bytes(identifier: str, key: str, letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (255 // size) + "x" * (255 % size)
    accept(identifier, **{key: longest})
    refuse(identifier, TooLarge, **{key: longest + "x"})


@pytest.mark.parametrize("key", ["type", "state_key"])
def test_short_keys_have_no_nul(key: str) -> None:
    refuse("11", **{key: "a\0b"})
    accept("11", content={"body": "a\0b"})


@pytest.mark.parametrize("identifier", VERSIONS)
def test_the_limit_is_65536_bytes(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    empty = check_event_format({**pdu_of(identifier), "content": {"body": ""}}, version)
    room = MAX_EVENT_BYTES - len(empty)
    for letter in ("a", "é", "日", "\U0001f600", '"', "\n"):
        size = len(standard_json.dumps(letter, ensure_ascii=False).encode()) - 2
        body = letter * (room // size) + "x" * (room % size)
        pdu: JsonObject = {**pdu_of(identifier), "content": {"body": body}, "unsigned": {"big": "x" * 1000}}
        assert len(check_event_format(pdu, version)) == MAX_EVENT_BYTES
        refuse(identifier, TooLarge, content={"body": body + "x"})


@pytest.mark.parametrize("identifier", VERSIONS)
def test_senders(identifier: str) -> None:
    for sender in ("@:example.org", "@Álice #1:example.org", "@a:[::1]:80", "@\x01:example.org"):
        accept(identifier, sender=sender)
    for sender in (
        "alice",
        "@alice",
        "@al\0ice:example.org",
        "@alice:exam ple",
        "@" + "é" * 122 + ":example.org",
    ):
        refuse(identifier, sender=sender)


def test_room_ids_until_version_11() -> None:
    for identifier in VERSIONS[:11]:
        accept(identifier, room_id="!r:example.org:80")
        accept(identifier, room_id="!r:example.org", type="m.room.create")
        for room_id in (HASH_ROOM, "!r", "r:example.org", "!r:", "!" + "r" * 250 + ":example.org"):
            refuse(identifier, room_id=room_id)


def test_room_ids_of_version_12() -> None:
    for room_id in (
        "!r:example.org",
        HASH_ROOM[:-1],
        HASH_ROOM + "A",
        HASH_ROOM[:-1] + "/",
        "$" + HASH_ROOM[1:],
    ):
        refuse("12", room_id=room_id)
    pdu = pdu_of("12")
    del pdu["room_id"]
    with pytest.raises(BadJson):
        check_event_format(pdu, ROOM_VERSIONS["12"])
    create: JsonObject = {
        **pdu,
        "type": "m.room.create",
        "state_key": "",
        "auth_events": [],
        "prev_events": [],
    }
    check_event_format(create, ROOM_VERSIONS["12"])
    with pytest.raises(BadJson):
        check_event_format({**create, "room_id": HASH_ROOM}, ROOM_VERSIONS["12"])
    with pytest.raises(BadJson):
        check_event_format(create, ROOM_VERSIONS["11"])


def test_event_ids_before_version_3() -> None:
    for identifier in PAIRED:
        for event_id in (
            "$nodomain",
            "0:example.org",
            "$0:",
            "$:example.org",
            "$" + "0" * 250 + ":example.org",
        ):
            refuse(identifier, event_id=event_id)


@pytest.mark.parametrize("identifier", VERSIONS)
def test_depth(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    limit = 2**63 - 1 if identifier in LENIENT else 2**53 - 1
    assert max_depth(version) == limit
    accept(identifier, depth=0)
    accept(identifier, depth=limit)
    for depth in (-1, limit + 1, 10**30, True, 1.0, "1"):
        refuse(identifier, depth=depth)


@pytest.mark.parametrize("identifier", VERSIONS)
def test_canonical_json_is_enforced_since_version_6(identifier: str) -> None:
    odd: list[JsonObject] = [
        {"users": {"@a:b": 50.57}},
        {"a": [1e5]},
        {"a": -0.0},
        {"a": 2**53},
        {"a": -(2**53)},
        {"a": 10**100},
    ]
    for content in odd:
        if identifier in LENIENT:
            accept(identifier, content=content)
        else:
            refuse(identifier, content=content)
    accept(identifier, content={"a": [2**53 - 1, -(2**53) + 1, True, None]})
    for key in ("origin", "org.example.extra"):
        (accept if identifier in LENIENT else refuse)(identifier, **{key: {"a": [0.5]}})


@pytest.mark.parametrize("identifier", VERSIONS)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), "\ud800"])
def test_what_has_no_json_is_refused_everywhere(identifier: str, number: JsonValue) -> None:
    refuse(identifier, content={"a": number})


def test_timestamps_fit_64_bits() -> None:
    accept("1", origin_server_ts=2**63 - 1)
    refuse("1", origin_server_ts=2**63)
    refuse("6", origin_server_ts=2**53)


@pytest.mark.parametrize("identifier", VERSIONS)
def test_how_events_are_referred_to(identifier: str) -> None:
    pair: JsonValue = ["$a:example.org", {"sha256": "x"}]
    right, wrong = (pair, "$a:example.org") if identifier in PAIRED else ("$a:example.org", pair)
    for key, limit in (("prev_events", 20), ("auth_events", 10)):
        accept(identifier, **{key: [right] * limit})
        refuse(identifier, **{key: [right] * (limit + 1)})
        for reference in (wrong, None, 1, {}, ""):
            refuse(identifier, **{key: [right, reference]})
        malformed = ("a", "$", "$a\0b", "$a:", "!a:example.org", "$" + "é" * 128)
        for event_id in malformed:
            refuse(identifier, **{key: [[event_id, {"sha256": "x"}] if identifier in PAIRED else event_id]})
    if identifier in PAIRED:
        odd: list[JsonValue] = [[], ["$a:b"], ["$a:b", "x"], ["$a:b", {}, {}], [{}, "$a:b"], [["$a:b"], {}]]
        for reference in odd:
            refuse(identifier, prev_events=[reference])


def test_hashes_and_signatures() -> None:
    for hashes in ({"sha512": "x"}, {"sha256": None}, {"sha256": ["x"]}):
        refuse("11", hashes=hashes)
    accept("11", hashes={"sha256": "x", "sha512": "y"})
    malformed: list[JsonObject] = [
        {"a": "x"},
        {"a": []},
        {"a": {"ed25519:1": 1}},
        {"b": {"k": "x"}, "a": {"ed25519:1": None}},
    ]
    for signatures in malformed:
        refuse("11", signatures=signatures)


@pytest.mark.parametrize("identifier", VERSIONS)
def test_redacts_is_a_string_where_it_is_part_of_the_format(identifier: str) -> None:
    accept(identifier, redacts="$x", type="m.room.redaction")
    (accept if int(identifier) >= 11 else refuse)(identifier, redacts=["$x"], type="m.room.redaction")


@given(
    data=st.dictionaries(
        st.sampled_from(sorted(pdu_of("1"))), st.from_type(type(None)) | st.text() | st.integers()
    )
)
def test_any_object_is_accepted_or_refused(data: JsonObject) -> None:
    for identifier in VERSIONS:
        try:
            check_event_format({**pdu_of(identifier), **data}, ROOM_VERSIONS[identifier])
        except (BadJson, TooLarge):
            continue


# Building


def build(identifier: str, **changes: object) -> tuple[Event, bytes]:
    arguments: dict[str, object] = {
        "room_version": ROOM_VERSIONS[identifier],
        "room_id": RoomID(HASH_ROOM if identifier == "12" else "!room:example.org"),
        "sender": UserID("@alice:example.org"),
        "type": "m.room.message",
        "state_key": None,
        "content": {"msgtype": "m.text", "body": "hello"},
        "origin_server_ts": 1_700_000_000_000,
        "depth": 5,
        "prev_events": [PREV],
        "auth_events": [AUTH],
        "redacts": None,
        "server_name": SERVER,
        "key": KEY,
    }
    if identifier in PAIRED:
        arguments["event_id"] = EventID("$0:example.org")
        arguments["reference_hashes"] = {PREV: "p" * 43, AUTH: "a" * 43}
    arguments.update(changes)
    return build_event(**arguments)  # type: ignore[arg-type]  # what the test wants to be taken


@pytest.mark.parametrize("identifier", VERSIONS)
def test_what_is_built_is_a_proper_event(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    event, data = build(identifier)
    assert check_event_format(decode_object(data), version) == data
    assert decode_object(data) == event.pdu
    assert has_content_hash(event.pdu)
    verify_event(event.pdu, version, SERVER, KEY.key_id, KEY.verify_key)
    assert event.event_id == event_id_of(event.pdu, version)
    assert event.prev_events == (PREV,)
    assert event.auth_events == (AUTH,)


@pytest.mark.parametrize("identifier", VERSIONS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"state_key": ""},
        {
            "state_key": "@alice:example.org",
            "type": "m.room.member",
            "content": {"membership": "join", "a": "b"},
        },
        {"type": "m.room.redaction", "redacts": PREV},
        {"type": "m.room.redaction", "redacts": PREV, "content": {"reason": "é\n☃"}},
        {"type": "m.room.redaction", "content": {"redacts": PREV}},
        {"prev_events": [], "auth_events": []},
    ],
)
def test_the_fast_way_gives_what_the_plain_way_gives(identifier: str, changes: dict[str, object]) -> None:
    """Hash and sign again, step by step, and read the event from its bytes."""
    version = ROOM_VERSIONS[identifier]
    event, data = build(identifier, **changes)
    bare = {key: value for key, value in event.pdu.items() if key not in {"hashes", "signatures"}}
    assert event.pdu == sign_event(bare, version, SERVER, KEY)
    assert event.pdu["hashes"] == {"sha256": content_hash(bare)}
    assert data == canonicaljson.encode_canonical_json(event.pdu)
    again = Event.from_pdu(decode_object(data), version)
    for field in Event.__slots__:
        if not field.startswith("_"):
            assert getattr(again, field) == getattr(event, field)


@pytest.mark.parametrize("identifier", VERSIONS)
def test_redacts_is_put_where_it_belongs(identifier: str) -> None:
    content: JsonObject = {"reason": "spam"}
    event, _ = build(identifier, type="m.room.redaction", redacts=PREV, content=content)
    assert event.redacts == PREV
    assert content == {"reason": "spam"}
    if int(identifier) >= 11:
        assert event.content == {"reason": "spam", "redacts": PREV}
        assert "redacts" not in event.pdu
    else:
        assert event.content == content
        assert event.pdu["redacts"] == PREV


@pytest.mark.parametrize("identifier", PAIRED)
def test_versions_1_and_2_refer_by_id_and_hash(identifier: str) -> None:
    event, _ = build(identifier)
    assert event.event_id == "$0:example.org"
    assert event.pdu["event_id"] == "$0:example.org"
    assert event.pdu["prev_events"] == [[PREV, {"sha256": "p" * 43}]]
    assert event.pdu["auth_events"] == [[AUTH, {"sha256": "a" * 43}]]
    with pytest.raises(ValueError):
        build(identifier, event_id=None)
    with pytest.raises(ValueError):
        build(identifier, reference_hashes=None)
    with pytest.raises(ValueError):
        build(identifier, reference_hashes={PREV: "x"})
    # The hash of an event as another event names it.
    hashes = {event.event_id: encode_base64(reference_hash(event.pdu, event.room_version)), AUTH: "x"}
    child, _ = build(identifier, prev_events=[event.event_id], reference_hashes=hashes)
    assert child.prev_events == (event.event_id,)


def test_an_event_id_is_not_given_since_version_3() -> None:
    for identifier in VERSIONS[2:]:
        with pytest.raises(ValueError):
            build(identifier, event_id=EventID("$0:example.org"))
        assert "event_id" not in build(identifier)[0].pdu


def test_a_create_event_of_version_12() -> None:
    changes: dict[str, object] = {
        "type": "m.room.create",
        "state_key": "",
        "content": {"room_version": "12"},
        "prev_events": [],
        "auth_events": [],
    }
    create, data = build("12", room_id=None, **changes)
    assert create.room_id == "!" + create.event_id[1:]
    assert "room_id" not in create.pdu
    assert check_event_format(decode_object(data), create.room_version) == data
    # A second create event is built, for the auth rules to refuse.
    second, _ = build("12", room_id=create.room_id, **changes)
    assert second.room_id == create.room_id
    for identifier in VERSIONS[:11]:
        with pytest.raises(ValueError):
            build(identifier, room_id=None, **changes)
    with pytest.raises(ValueError):
        build("12", room_id=None)


@pytest.mark.parametrize("identifier", VERSIONS)
def test_depth_stays_at_its_limit(identifier: str) -> None:
    limit = max_depth(ROOM_VERSIONS[identifier])
    for depth in (limit, limit + 1, 10**30):
        event, _ = build(identifier, depth=depth)
        assert event.depth == limit
        assert event.pdu["depth"] == limit


@pytest.mark.parametrize("identifier", STRICT)
@pytest.mark.parametrize("content", [{"a": 1.0}, {"a": 2**53}, {"a": [{"b": 1e5}]}])
def test_content_must_be_canonical_since_version_6(identifier: str, content: JsonObject) -> None:
    with pytest.raises(BadJson):
        build(identifier, content=content)


def test_sizes_of_what_is_built() -> None:
    event, data = build("11", content={"body": ""})
    fill = MAX_EVENT_BYTES - len(data)
    assert len(build("11", content={"body": "x" * fill})[1]) == MAX_EVENT_BYTES
    oversized: list[Callable[[], object]] = [
        lambda: build("11", content={"body": "x" * (fill + 1)}),
        lambda: build("11", content={"body": "é" * (fill // 2 + 1)}),
        lambda: build("11", type="é" * 128),
        lambda: build("11", state_key="x" * 256),
    ]
    for make in oversized:
        with pytest.raises(TooLarge):
            make()
    with pytest.raises(BadJson):
        build("11", type="a\0b")
    assert event.content == {"body": ""}


def test_building_does_not_change_what_it_is_given() -> None:
    content: JsonObject = {"membership": "join", "list": [1, {"a": None}]}
    before = copy.deepcopy(content)
    build("11", type="m.room.member", state_key="@alice:example.org", content=content)
    assert content == before
