"""Server-server API, "Publishing Keys"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.server_keys import (
    LONGEST_VALIDITY_MS,
    MAX_KEYS,
    VerifyKey,
    check_notary,
    publish,
    read_response,
    server_of_response,
)
from homeserver.core.signing import SigningKey, sign_json

NOW = 1_700_000_000_000
A = ServerName("a.test")
KEY = SigningKey.generate("k", seed=bytes(32))
OTHER = SigningKey.generate("o", seed=bytes([1] * 32))
OLD = {OTHER.key_id: VerifyKey(OTHER.verify_key, NOW - 1000, is_old=True)}


def document(**changes: JsonValue) -> JsonObject:
    """A response with some of it changed before it is signed."""
    made = publish(A, KEY, OLD, valid_until_ts=NOW + 1000)
    del made["signatures"]
    return sign_json({**made, **changes}, A, KEY)


def test_what_is_published_can_be_read() -> None:
    response = read_response(publish(A, KEY, OLD, valid_until_ts=NOW + 1000), A, now_ts=NOW)
    assert response.server_name == A
    assert response.valid_until_ts == NOW + 1000
    assert response.keys == {KEY.key_id: VerifyKey(KEY.verify_key, NOW + 1000), **OLD}


def test_no_key_is_valid_for_longer_than_seven_days() -> None:
    response = read_response(document(valid_until_ts=NOW + 10 * LONGEST_VALIDITY_MS), A, now_ts=NOW)
    assert response.valid_until_ts == NOW + LONGEST_VALIDITY_MS
    assert response.keys[KEY.key_id].valid_until_ts == NOW + LONGEST_VALIDITY_MS
    assert response.keys[OTHER.key_id].valid_until_ts == NOW - 1000


def test_for_which_moments_a_key_is_valid() -> None:
    key = VerifyKey(KEY.verify_key, NOW)
    assert key.is_valid_at(NOW)
    assert key.is_valid_at(0)
    assert not key.is_valid_at(NOW + 1)
    assert key.is_valid_at(None)


def test_a_key_must_be_its_owners() -> None:
    """Server B lists server A's key as its own."""
    stolen = publish(ServerName("b.test"), OTHER, {}, valid_until_ts=NOW)
    verify_keys = {
        OTHER.key_id: {"key": encode_base64(OTHER.verify_key)},
        "ed25519:x": {"key": encode_base64(KEY.verify_key)},
    }
    del stolen["signatures"]
    signed = sign_json({**stolen, "verify_keys": verify_keys}, "b.test", OTHER)  # type: ignore[dict-item]  # JSON
    with pytest.raises(InvalidSignature):
        read_response(signed, ServerName("b.test"), now_ts=NOW)


def test_of_another_server() -> None:
    with pytest.raises(BadJson, match="another server"):
        read_response(document(), ServerName("b.test"), now_ts=NOW)


def test_a_change_after_signing_is_noticed() -> None:
    with pytest.raises(InvalidSignature):
        read_response({**document(), "valid_until_ts": NOW + 5000}, A, now_ts=NOW)


def test_keys_of_unknown_kinds_are_passed_over() -> None:
    known = document()["verify_keys"]
    assert isinstance(known, dict)
    response = read_response(document(verify_keys={**known, "curve9:x": {"key": "what"}}), A, now_ts=NOW)
    assert response.keys.keys() == {KEY.key_id, OTHER.key_id}


def test_old_keys_may_be_absent() -> None:
    made = document()
    del made["old_verify_keys"], made["signatures"]
    assert read_response(sign_json(made, A, KEY), A, now_ts=NOW).keys.keys() == {KEY.key_id}


MANY: JsonValue = {
    f"ed25519:n{each}": {"key": encode_base64(bytes(32)), "expired_ts": 1} for each in range(MAX_KEYS + 1)
}


@pytest.mark.parametrize(
    "changes",
    [
        {"verify_keys": {}},
        {"verify_keys": None},
        {"verify_keys": []},
        {"verify_keys": {"ed25519:k": "x"}},
        {"verify_keys": {"ed25519:k": {}}},
        {"verify_keys": {"ed25519:k": {"key": 1}}},
        {"verify_keys": {"ed25519:k": {"key": "!!"}}},
        {"verify_keys": {"ed25519:k": {"key": "c2hvcnQ"}}},
        {"verify_keys": {"ed25519:k": {"key": "A" * 100_000}}},
        {"verify_keys": {"ed25519:k!": {"key": "A" * 43}}},
        {"verify_keys": {"k": {"key": "A" * 43}}},
        {"verify_keys": MANY},
        {"old_verify_keys": MANY},
        {"old_verify_keys": None},
        {"old_verify_keys": {"ed25519:z": {"key": "A" * 43}}},
        {"old_verify_keys": {"ed25519:z": {"key": "A" * 43, "expired_ts": "1"}}},
        {"valid_until_ts": None},
        {"valid_until_ts": True},
        {"valid_until_ts": -1},
        {"valid_until_ts": 1.5},
        {"valid_until_ts": 2**60},
        {"server_name": None},
    ],
)
def test_what_is_malformed_is_refused(changes: JsonObject) -> None:
    with pytest.raises((BadJson, InvalidSignature)):
        read_response(document(**changes), A, now_ts=NOW)


@pytest.mark.parametrize(
    "signatures", [None, {}, {"a.test": 1}, {"a.test": {"ed25519:k": 1}}, {"a.test": {"ed25519:k": "AA"}}]
)
def test_signatures_that_are_none(signatures: JsonValue) -> None:
    with pytest.raises((BadJson, InvalidSignature)):
        read_response({**document(), "signatures": signatures}, A, now_ts=NOW)


def test_too_many_signatures() -> None:
    made = document()
    others: JsonObject = {f"n{each}.test": {"ed25519:k": "AA"} for each in range(101)}
    assert isinstance(made["signatures"], dict)
    with pytest.raises(BadJson, match="signatures"):
        read_response({**made, "signatures": {**others, **made["signatures"]}}, A, now_ts=NOW)


def test_a_notary_signs_beside_the_server() -> None:
    witnessed = sign_json(document(), "notary.test", OTHER)
    notary = ServerName("notary.test")
    assert read_response(witnessed, A, now_ts=NOW).keys.keys() == {KEY.key_id, OTHER.key_id}
    check_notary(witnessed, notary, {OTHER.key_id: OTHER.verify_key})
    for keys in ({}, {KEY.key_id: KEY.verify_key}, {OTHER.key_id: KEY.verify_key}):
        with pytest.raises(InvalidSignature):
            check_notary(witnessed, notary, keys)
    with pytest.raises(InvalidSignature):
        check_notary(document(), notary, {OTHER.key_id: OTHER.verify_key})


@pytest.mark.parametrize("name", [None, 1, "", "a b", "[::", "x" * 300])
def test_names_that_are_none(name: JsonValue) -> None:
    with pytest.raises(BadJson):
        server_of_response({"server_name": name})


JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["verify_keys", "old_verify_keys", "signatures", "valid_until_ts"]), JSON)
)
def test_nothing_else_than_a_refusal_comes_of_it(changes: JsonObject) -> None:
    try:
        response = read_response({**document(), **changes}, A, now_ts=NOW)
    except MatrixError:
        return
    assert response.keys.keys() == {KEY.key_id, OTHER.key_id}
