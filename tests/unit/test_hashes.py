"""Server-server API, "Signing Events": content hash and reference hash; room versions, "Event IDs"."""

import base64
import hashlib
import json as standard_json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import BadJson
from homeserver.core.hashes import (
    content_hash,
    decode_base64,
    encode_base64,
    encode_base64_url_safe,
    event_id_of,
    has_content_hash,
    reference_hash,
)
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import ROOM_VERSIONS

PDU: JsonObject = {
    "auth_events": ["$a", "$b"],
    "content": {"membership": "join", "displayname": "Alice ☃"},
    "depth": 12,
    "hashes": {"sha256": "thishashcoversallfieldsincasethisisredacted"},
    "origin": "example.org",
    "origin_server_ts": 1404838188000,
    "prev_events": ["$c"],
    "room_id": "!room:example.org",
    "sender": "@alice:example.org",
    "signatures": {"example.org": {"ed25519:1": "sig"}},
    "state_key": "@alice:example.org",
    "type": "m.room.member",
    "unsigned": {"age": 4612},
    "org.example.extra": 1,
}


def sha256_of(value: object) -> bytes:
    """The hash as the appendices' Python does it."""
    text = standard_json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"foobar", "Zm9vYmFy")],
)
def test_the_examples_of_unpadded_base64(data: bytes, text: str) -> None:
    assert encode_base64(data) == text
    assert decode_base64(text) == data


@given(data=st.binary(max_size=70))
def test_base64_round_trip(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data
    assert decode_base64(base64.b64encode(data).decode()) == data
    assert encode_base64_url_safe(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("text", ["a", "abcde", "ab-_", "ab cd", "ab\ncd", "Zg=a", "=Zg", "é", "Zm9v\0"])
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(ValueError):
        decode_base64(text)


@given(text=st.text(max_size=12))
def test_base64_is_decoded_or_refused(text: str) -> None:
    try:
        decode_base64(text)
    except ValueError:
        return
    assert text.isascii()


def test_the_content_hash_covers_all_but_hashes_signatures_and_unsigned() -> None:
    covered = {key: value for key, value in PDU.items() if key not in {"hashes", "signatures", "unsigned"}}
    assert decode_base64(content_hash(PDU)) == sha256_of(covered)
    for key in covered:
        assert content_hash({**PDU, key: "changed"}) != content_hash(PDU)
    for key in ("hashes", "signatures", "unsigned"):
        assert content_hash({**PDU, key: {"changed": 1}}) == content_hash(PDU)


def test_has_content_hash() -> None:
    right = content_hash(PDU)
    assert has_content_hash({**PDU, "hashes": {"sha256": right}})
    assert has_content_hash({**PDU, "hashes": {"sha256": right + "=", "md5": "x"}})
    wrong: list[JsonObject] = [
        {},
        {"hashes": None},
        {"hashes": {}},
        {"hashes": {"sha256": None}},
        {"hashes": {"sha256": ""}},
        {"hashes": {"sha256": "é"}},
        {"hashes": {"sha256": right[:-1]}},
        {"hashes": {"sha256": right}, "content": {}},
    ]
    for change in wrong:
        assert not has_content_hash({**PDU, **change})


@pytest.mark.parametrize("identifier", list(ROOM_VERSIONS))
def test_the_reference_hash_covers_the_redacted_event(identifier: str) -> None:
    kept = [
        "auth_events",
        "depth",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "state_key",
        "type",
    ]
    covered: dict[str, object] = {key: PDU[key] for key in kept}
    covered["content"] = {"membership": "join"}
    if int(identifier) < 11:
        covered["origin"] = "example.org"
    assert reference_hash(PDU, ROOM_VERSIONS[identifier]) == sha256_of(covered)


def test_event_ids_are_hashes_since_version_3() -> None:
    three = event_id_of(PDU, ROOM_VERSIONS["3"])
    assert three == "$" + base64.b64encode(reference_hash(PDU, ROOM_VERSIONS["3"])).decode().rstrip("=")
    for identifier in ("4", "5", "6", "7", "8", "9", "10"):
        assert event_id_of(PDU, ROOM_VERSIONS[identifier]) == three.translate(str.maketrans("+/", "-_"))
    for identifier in ("11", "12"):
        digest = reference_hash(PDU, ROOM_VERSIONS[identifier])
        assert event_id_of(PDU, ROOM_VERSIONS[identifier]) == "$" + encode_base64_url_safe(digest)


def test_the_alphabets_of_versions_3_and_4_differ() -> None:
    """Some event has a hash with both characters that the alphabets write differently."""
    for depth in range(1000):
        pdu = {**PDU, "depth": depth}
        three = event_id_of(pdu, ROOM_VERSIONS["3"])
        if "+" in three and "/" in three:
            four = event_id_of(pdu, ROOM_VERSIONS["4"])
            assert "-" in four
            assert "_" in four
            return
    pytest.fail("no such event")


@pytest.mark.parametrize("identifier", ["1", "2"])
def test_event_ids_are_in_the_event_before_version_3(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    assert event_id_of({**PDU, "event_id": "$0:example.org"}, version) == "$0:example.org"
    for change in ({}, {"event_id": None}, {"event_id": 1}):
        with pytest.raises(BadJson):
            event_id_of({**PDU, **change}, version)


def test_an_event_that_cannot_be_hashed() -> None:
    for value in ("\ud800", float("nan")):
        with pytest.raises(BadJson):
            content_hash({**PDU, "content": {"body": value}})
