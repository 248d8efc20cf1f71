"""Appendices, "Signing JSON" and "Cryptographic Test Vectors"; server-server API, "Signing Events"."""

import copy

import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson
from homeserver.core.hashes import decode_base64, has_content_hash
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import (
    SigningKey,
    add_signature,
    authorising_server,
    key_ids_of,
    required_signers,
    sign_event,
    sign_json,
    verify_event,
    verify_json,
)

SEED = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
SERVER = "domain"
KEY = SigningKey.parse(f"ed25519 1 {SEED}")
OTHER = SigningKey.generate("other", seed=bytes(32))

V1 = ROOM_VERSIONS["1"]

MINIMAL_EVENT = b"""{
    "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1000000,
    "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [],
    "depth": 3, "unsigned": {"age_ts": 1000000}
}"""
MESSAGE = b"""{
    "content": {"body": "Here is the message content"}, "event_id": "$0:domain", "origin": "domain",
    "origin_server_ts": 1000000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
    "signatures": {}, "unsigned": {"age_ts": 1000000}
}"""


# The specification's test vectors


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_json_vectors(value: JsonObject, signature: str) -> None:
    signed = sign_json(value, SERVER, KEY)
    assert signed == {**value, "signatures": {"domain": {"ed25519:1": signature}}}
    verify_json(signed, SERVER, "ed25519:1", KEY.verify_key)


@pytest.mark.parametrize(
    ("event", "content_hash", "signature"),
    [
        (
            MINIMAL_EVENT,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            MESSAGE,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_event_vectors(event: bytes, content_hash: str, signature: str) -> None:
    pdu = decode_object(event)
    signed = sign_event(pdu, V1, SERVER, KEY)
    assert signed == {
        **pdu,
        "hashes": {"sha256": content_hash},
        "signatures": {"domain": {"ed25519:1": signature}},
    }
    assert pdu == decode_object(event)
    verify_event(signed, V1, SERVER, "ed25519:1", KEY.verify_key)
    assert has_content_hash(signed)


def test_the_example_of_signing_details() -> None:
    """The example object's signature is by a key that is not given; its shape is what is checked."""
    signed = sign_json(
        {
            "name": "example.org",
            "signing_keys": {"ed25519:1": "XSl0kuyvrXNj6A+7/tkrB9sxSbRi08Of5uRhxOqZtEQ"},
            "unsigned": {"age_ts": 922834800000},
            "signatures": {"other.example": {"ed25519:z": "abc"}},
        },
        "example.org",
        KEY,
    )
    assert signed["unsigned"] == {"age_ts": 922834800000}
    signatures = signed["signatures"]
    assert isinstance(signatures, dict)
    assert set(signatures) == {"example.org", "other.example"}
    verify_json(signed, "example.org", "ed25519:1", KEY.verify_key)


# JSON

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
OBJECTS = st.dictionaries(
    TEXT.filter(lambda key: key not in {"signatures", "unsigned"}),
    st.none() | st.booleans() | st.integers(-1000, 1000) | TEXT | st.lists(TEXT, max_size=3),
    max_size=5,
)


@given(value=OBJECTS, unsigned=OBJECTS)
def test_what_is_signed_verifies(value: JsonObject, unsigned: JsonObject) -> None:
    before = copy.deepcopy(value)
    signed = sign_json(value, SERVER, KEY)
    assert value == before
    verify_json(signed, SERVER, KEY.key_id, KEY.verify_key)
    # Neither further signatures nor `unsigned` are covered.
    twice = sign_json({**signed, "unsigned": unsigned}, "other.example", OTHER)
    verify_json(twice, SERVER, KEY.key_id, KEY.verify_key)
    verify_json(twice, "other.example", OTHER.key_id, OTHER.verify_key)


@given(value=OBJECTS, key=TEXT.filter(lambda key: key not in {"signatures", "unsigned"}))
def test_tampering_is_noticed(value: JsonObject, key: str) -> None:
    signed = sign_json(value, SERVER, KEY)
    changed: list[JsonObject] = [
        {**signed, key: "tampered with"},
        {**signed, key: [signed.get(key)]},
    ]
    if key in value:
        changed.append({name: item for name, item in signed.items() if name != key})
    for tampered in changed:
        with pytest.raises(InvalidSignature):
            verify_json(tampered, SERVER, KEY.key_id, KEY.verify_key)


def test_a_second_key_of_the_same_server() -> None:
    signed = sign_json(sign_json({"a": 1}, SERVER, KEY), SERVER, OTHER)
    assert sorted(key_ids_of(signed, SERVER)) == ["ed25519:1", "ed25519:other"]
    verify_json(signed, SERVER, KEY.key_id, KEY.verify_key)
    verify_json(signed, SERVER, OTHER.key_id, OTHER.verify_key)
    with pytest.raises(InvalidSignature):
        verify_json(signed, SERVER, KEY.key_id, OTHER.verify_key)


def test_a_padded_signature_counts() -> None:
    signature = f"{KEY.sign(b'{}')}=="
    verify_json({"signatures": {SERVER: {"ed25519:1": signature}}}, SERVER, "ed25519:1", KEY.verify_key)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        "x",
        [],
        {},
        {"domain": None},
        {"domain": {}},
        {"domain": ["ed25519:1"]},
        {"domain": {"ed25519:1": None}},
        {"domain": {"ed25519:1": 1}},
        {"domain": {"ed25519:1": ""}},
        {"domain": {"ed25519:1": "!!!!"}},
        {"domain": {"ed25519:1": "é"}},
        {"domain": {"ed25519:1": "Zg"}},
        {"domain": {"ed25519:1": "A" * 86}},
        {"domain": {"ed25519:1": "A" * 172}},
        {"domain": {"ed25519:2": KEY.sign(b"{}")}},
        {"Domain": {"ed25519:1": KEY.sign(b"{}")}},
        {"domain": {"ed25519:1": KEY.sign(b"{ }")}},
    ],
)
def test_malformed_signatures(signatures: object) -> None:
    value: JsonObject = {} if signatures is None else {"signatures": signatures}  # type: ignore[dict-item]  # JSON
    with pytest.raises(InvalidSignature):
        verify_json(value, SERVER, "ed25519:1", KEY.verify_key)


@pytest.mark.parametrize("verify_key", [b"", b"x", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_malformed_keys(verify_key: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify_json(sign_json({}, SERVER, KEY), SERVER, KEY.key_id, verify_key)


def test_key_ids_of_unknown_algorithms_are_left_out() -> None:
    value: JsonObject = {
        "signatures": {"domain": {"ed25519:a": "x", "rsa:b": "y", "ed25519": "z"}, "bad": "x"}
    }
    assert key_ids_of(value, "domain") == ["ed25519:a"]
    assert key_ids_of(value, "bad") == []
    assert key_ids_of(value, "elsewhere") == []
    assert key_ids_of({}, "domain") == []
    assert key_ids_of({"signatures": []}, "domain") == []


def test_what_has_no_canonical_json_cannot_be_signed() -> None:
    with pytest.raises(BadJson):
        sign_json({"a": "\ud800"}, SERVER, KEY)


# Events


def member(**changes: object) -> JsonObject:
    pdu: JsonObject = {
        "auth_events": [],
        "content": {"membership": "join", "displayname": "Alice"},
        "depth": 2,
        "event_id": "$1:domain",
        "origin_server_ts": 1,
        "prev_events": [],
        "room_id": "!r:domain",
        "sender": "@alice:domain",
        "state_key": "@alice:domain",
        "type": "m.room.member",
    }
    pdu.update(changes)  # type: ignore[arg-type]  # what the test wants to be taken
    return pdu


@pytest.mark.parametrize("identifier", list(ROOM_VERSIONS))
def test_a_signature_outlives_redaction_but_no_change_of_what_it_keeps(identifier: str) -> None:
    version = ROOM_VERSIONS[identifier]
    signed = sign_event(member(), version, SERVER, KEY)
    verify_event(signed, version, SERVER, KEY.key_id, KEY.verify_key)
    verify_event(redact(signed, version), version, SERVER, KEY.key_id, KEY.verify_key)
    assert not has_content_hash(redact(signed, version))

    # What redaction removes is covered by the hash alone.
    renamed: JsonObject = {**signed, "content": {"membership": "join", "displayname": "Eve"}}
    verify_event(renamed, version, SERVER, KEY.key_id, KEY.verify_key)
    assert not has_content_hash(renamed)

    for key, value in {
        "content": {"membership": "leave"},
        "depth": 3,
        "hashes": {"sha256": "x"},
        "origin_server_ts": 2,
        "prev_events": ["$x"],
        "auth_events": ["$x"],
        "room_id": "!s:domain",
        "sender": "@eve:domain",
        "state_key": "@eve:domain",
        "type": "X",
        "event_id": "$2:domain",
    }.items():
        with pytest.raises(InvalidSignature):
            verify_event({**signed, key: value}, version, SERVER, KEY.key_id, KEY.verify_key)  # type: ignore[dict-item]  # JSON


def test_a_second_server_signs_without_touching_the_rest() -> None:
    version = ROOM_VERSIONS["11"]
    signed = sign_event(member(), version, SERVER, KEY)
    both = add_signature(signed, version, "other.example", OTHER)
    assert {key: value for key, value in both.items() if key != "signatures"} == {
        key: value for key, value in signed.items() if key != "signatures"
    }
    verify_event(both, version, SERVER, KEY.key_id, KEY.verify_key)
    verify_event(both, version, "other.example", OTHER.key_id, OTHER.verify_key)


def test_required_signers() -> None:
    v2, v3 = ROOM_VERSIONS["2"], ROOM_VERSIONS["3"]
    assert required_signers(member(), v3) == {"domain"}
    assert required_signers(member(sender="@a:[::1]:80"), v3) == {"[::1]:80"}
    assert required_signers(member(event_id="$1:elsewhere"), v3) == {"domain"}
    assert required_signers(member(event_id="$1:elsewhere"), v2) == {"domain", "elsewhere"}
    assert required_signers(member(), v2) == {"domain"}


def test_a_third_party_invite_needs_no_signature_of_the_senders_server() -> None:
    v2, v3 = ROOM_VERSIONS["2"], ROOM_VERSIONS["3"]
    invite: JsonObject = {"membership": "invite", "third_party_invite": {"signed": {}}}
    assert required_signers(member(content=invite), v3) == set()
    assert required_signers(member(content=invite, event_id="$1:elsewhere"), v2) == {"elsewhere"}
    # But nothing that merely looks like one escapes.
    for disguise in (
        member(content={**invite, "membership": "join"}),
        member(content=invite, type="m.room.message"),
        member(content={"membership": "invite"}),
        member(content="invite"),
    ):
        assert required_signers(disguise, v3) == {"domain"}


@pytest.mark.parametrize("sender", [None, 1, "", "alice", "@alice", "@alice:"])
def test_required_signers_of_a_malformed_event(sender: object) -> None:
    with pytest.raises(BadJson):
        required_signers(member(sender=sender), ROOM_VERSIONS["10"])


def test_the_server_that_authorises_a_restricted_join() -> None:
    join: JsonObject = {"membership": "join", "join_authorised_via_users_server": "@bob:other.example"}
    assert authorising_server(member(content=join), ROOM_VERSIONS["8"]) == "other.example"
    assert authorising_server(member(content=join), ROOM_VERSIONS["12"]) == "other.example"
    assert authorising_server(member(content=join), ROOM_VERSIONS["7"]) is None
    assert authorising_server(member(content=join, type="X"), ROOM_VERSIONS["8"]) is None
    assert authorising_server(member(), ROOM_VERSIONS["8"]) is None
    for malformed in (None, 1, "bob"):
        with pytest.raises(BadJson):
            authorising_server(
                member(content={**join, "join_authorised_via_users_server": malformed}), ROOM_VERSIONS["8"]
            )


# Keys


def test_the_line_of_a_key_file() -> None:
    # The specification spells its seed with stray last bits; this is how a server would write the same seed.
    seed = f"{SEED[:-1]}0"
    line = f"ed25519 a_abcd {seed}"
    key = SigningKey.parse(line + "\n")
    assert key.key_id == "ed25519:a_abcd"
    assert bytes(key.key) == decode_base64(SEED)
    assert key.to_file_line() == line
    assert key.verify_key == bytes(nacl.signing.SigningKey(decode_base64(SEED)).verify_key)


@given(seed=st.binary(min_size=32, max_size=32), version=st.from_regex(r"[a-zA-Z0-9_]+", fullmatch=True))
def test_key_file_round_trip(seed: bytes, version: str) -> None:
    key = SigningKey.generate(version, seed=seed)
    assert SigningKey.parse(key.to_file_line()) == key
    assert key.key_id == f"ed25519:{version}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ed25519",
        f"ed25519 {SEED}",
        f"rsa a {SEED}",
        f"ed25519 a {SEED} more",
        f"ed25519 a:b {SEED}",
        f"ed25519 é {SEED}",
        f"ed25519 a {SEED[:-2]}",
        f"ed25519 a {SEED}AAAA",
        "ed25519 a " + "!" * 43,
        f"ed25519 a {SEED}\ned25519 b {SEED}",
    ],
)
def test_malformed_key_lines_are_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(ValueError) as caught:
        SigningKey.parse(line)
    assert SEED[:20] not in str(caught.value)


def test_a_key_does_not_show_its_secret() -> None:
    assert SEED not in repr(KEY)
    assert repr(bytes(KEY.key)) not in repr(KEY)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_has_32_bytes(seed: bytes) -> None:
    with pytest.raises(ValueError):
        SigningKey.generate("a", seed=seed)
