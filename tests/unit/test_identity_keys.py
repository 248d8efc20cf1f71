"""Client-server API, "Device keys" and "Cross-signing": which keys of others are believed."""

from typing import Any

import pytest
from hypothesis import given

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import (
    MOST_DEVICE_ID_BYTES,
    MOST_KEY_BYTES,
    MOST_NAME,
    Usage,
    check_signed_by,
    read_device_id,
    read_device_keys,
    read_name,
    read_one_time_key,
    read_user_key,
)
from homeserver.core.json import canonical, decode_object
from homeserver.core.signing import verify_json
from tests.key_holders import SIGNED, Device, Identity, Keys, public, signed
from tests.unit.mutations import VALUES, mutations

ALICE = UserID("@alice:example.org")
PHONE = DeviceID("PHONE")
DEVICE = Device(ALICE, PHONE)
IDENTITY = Identity(ALICE)
OTHER = Identity(ALICE, "second")


def raw(name: str) -> bytes:
    """The public key that the name stands for."""
    return decode_base64(public(name))


def test_good_device_keys_are_kept_as_they_were_signed() -> None:
    keys = DEVICE.keys(dehydrated=True)
    given_ = {**keys, "unsigned": {"device_display_name": "My phone", "more": 1}}
    found = read_device_keys(given_, ALICE, PHONE)
    assert found.keys == canonical(keys)
    assert found.display_name == "My phone"
    assert read_device_keys(given_, ALICE, PHONE, display_name="Another").display_name == "Another"


def test_signatures_of_the_user_alone_are_kept() -> None:
    """The self-signing key's beside the device's; what others say of it is theirs."""
    keys = IDENTITY.signed("self_signing", DEVICE.keys())
    given_ = signed(keys, "@eve:example.org", "EVE", "eve")
    assert decode_object(read_device_keys(given_, ALICE, PHONE).keys) == keys


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": "@eve:example.org"},
        {"user_id": None},
        {"device_id": "TABLET"},
        {"device_id": 5},
        {"algorithms": "m.olm"},
        {"algorithms": [1]},
        {"algorithms": None},
        {"keys": []},
        {"keys": {"ed25519:PHONE": 5}},
        {"number": 1.5},
        {"number": 2**53},
        {"long": "x" * MOST_KEY_BYTES},
    ],
)
def test_malformed_device_keys_are_refused(changes: Keys) -> None:
    with pytest.raises((BadJson, InvalidSignature)):
        read_device_keys(DEVICE.keys(**changes), ALICE, PHONE)


@pytest.mark.parametrize("value", [None, [], "keys", 1, {}])
def test_device_keys_are_an_object(value: object) -> None:
    with pytest.raises(BadJson):
        read_device_keys(value, ALICE, PHONE)


UNSIGNED_ONES: dict[str, Keys] = {
    "no signatures": {key: value for key, value in DEVICE.keys().items() if key != "signatures"},
    "signatures of nobody": {**DEVICE.keys(), "signatures": {}},
    "of somebody else": {**DEVICE.keys(), "signatures": {"@eve:example.org": {"ed25519:PHONE": "x"}}},
    "by the self-signing key alone": IDENTITY.signed(
        "self_signing", {key: value for key, value in DEVICE.keys().items() if key != "signatures"}
    ),
    "by another key of that name": signed(DEVICE.keys(), ALICE, PHONE, "eve"),
    "of other keys": {**DEVICE.keys(), "algorithms": []},
    "no Base64": {**DEVICE.keys(), "signatures": {ALICE: {"ed25519:PHONE": "!"}}},
    "too short": {**DEVICE.keys(), "signatures": {ALICE: {"ed25519:PHONE": "AAAA"}}},
    "no key": DEVICE.keys(keys={}),
    "a short key": DEVICE.keys(keys={"ed25519:PHONE": "AAAA"}),
    "a key of another device": DEVICE.keys(keys={"ed25519:TABLET": public(DEVICE.key_name)}),
    "no point of the curve": DEVICE.keys(keys={"ed25519:PHONE": "/" * 43}),
}


@pytest.mark.parametrize("which", UNSIGNED_ONES)
def test_a_device_signs_its_keys(which: str) -> None:
    with pytest.raises(InvalidSignature):
        read_device_keys(UNSIGNED_ONES[which], ALICE, PHONE)


@given(mutations({**DEVICE.keys(), "unsigned": {"device_display_name": "My phone"}}))
def test_whatever_is_accepted_is_what_the_device_has_signed(value: Any) -> None:
    try:
        found = read_device_keys(value, ALICE, PHONE)
    except MatrixError:
        return
    kept = decode_object(found.keys)
    assert kept["user_id"] == ALICE
    assert kept["device_id"] == PHONE
    signatures = kept["signatures"]
    assert isinstance(signatures, dict)
    assert {*signatures} == {ALICE}
    verify_json(kept, ALICE, "ed25519:PHONE", raw(DEVICE.key_name))
    assert read_device_keys(kept, ALICE, PHONE).keys == found.keys


@given(VALUES)
def test_no_value_breaks_the_reading(value: Any) -> None:
    with pytest.raises(MatrixError):
        read_device_keys(value, ALICE, PHONE)
    with pytest.raises(MatrixError):
        read_user_key(value, ALICE, "master")


@pytest.mark.parametrize("usage", ["master", "self_signing", "user_signing"])
def test_cross_signing_keys(usage: Usage) -> None:
    key = read_user_key(IDENTITY.key(usage), ALICE, usage)
    assert key.usage == usage
    assert key.public_key == IDENTITY.public(usage)
    assert key.keys == canonical(IDENTITY.key(usage))


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": "@eve:example.org"},
        {"usage": ["self_signing"]},
        {"usage": "master"},
        {"usage": None},
        {"keys": {}},
        {"keys": {"ed25519:x": public("x")}},
        {"keys": {f"ed25519:{public('a')}": public("a"), f"ed25519:{public('b')}": public("b")}},
        {"keys": {"ed25519:AAAA": "AAAA"}},
        {"keys": {f"curve25519:{public('a')}": public("a")}},
        {"keys": [public("a")]},
        {"signatures": {ALICE: {"ed25519:PHONE": 5}}},
        {"number": 1.5},
        {"long": "x" * MOST_KEY_BYTES},
    ],
)
def test_malformed_cross_signing_keys_are_refused(changes: Keys) -> None:
    with pytest.raises((BadJson, InvalidSignature)):
        read_user_key({**IDENTITY.key("master"), **changes}, ALICE, "master")


def test_the_master_key_signs_the_others() -> None:
    master = read_user_key(IDENTITY.key("master"), ALICE, "master")
    check_signed_by(IDENTITY.key("self_signing"), ALICE, master)
    for value in (OTHER.key("self_signing"), {**IDENTITY.key("self_signing"), "more": 1}, {}):
        with pytest.raises(InvalidSignature):
            check_signed_by(value, ALICE, master)
    with pytest.raises(BadJson):
        check_signed_by(None, ALICE, master)


@given(mutations(IDENTITY.key("self_signing")))
def test_whatever_is_accepted_of_a_cross_signing_key_can_be_read_again(value: Any) -> None:
    master = read_user_key(IDENTITY.key("master"), ALICE, "master")
    try:
        key = read_user_key(value, ALICE, "self_signing")
        check_signed_by(value, ALICE, master)
    except MatrixError:
        return
    assert key.public_key == IDENTITY.public("self_signing")
    assert read_user_key(decode_object(key.keys), ALICE, "self_signing") == key
    check_signed_by(decode_object(key.keys), ALICE, master)


@pytest.mark.parametrize(
    "value", ["", None, 5, ["A"], "a\0b", "a\nb", "\ud800", "x" * (MOST_DEVICE_ID_BYTES + 1)]
)
def test_strange_device_ids_are_refused(value: object) -> None:
    with pytest.raises(BadJson):
        read_device_id(value)


@pytest.mark.parametrize("text", ["A", "x" * MOST_DEVICE_ID_BYTES, "/+ä!"])
def test_device_ids(text: str) -> None:
    assert read_device_id(text) == text


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Phone", "Phone"),
        ("", None),
        (None, None),
        (5, None),
        (["Phone"], None),
        ("\0", None),
        ("a\0b", "ab"),
        ("a\ud800b", "a?b"),
        ("x" * 1000, "x" * MOST_NAME),
    ],
)
def test_names(value: object, name: str | None) -> None:
    """They help people and decide nothing, so what is no name is left out."""
    assert read_name(value) == name


@pytest.mark.parametrize("value", ["abc", {"key": "abc"}, {"key": "abc", "signatures": {}, "more": [1]}])
def test_one_time_keys(value: Any) -> None:
    assert read_one_time_key(f"{SIGNED}:AAAA", value, SIGNED) == canonical(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("curve25519:AAAA", {"key": "abc"}),
        ("signed_curve25519x:AAAA", {"key": "abc"}),
        (5, {"key": "abc"}),
        (f"{SIGNED}:" + "x" * 300, {"key": "abc"}),
        (f"{SIGNED}:AAAA", {}),
        (f"{SIGNED}:AAAA", {"key": 5}),
        (f"{SIGNED}:AAAA", None),
        (f"{SIGNED}:AAAA", ["abc"]),
        (f"{SIGNED}:AAAA", {"key": "abc", "number": 1.5}),
        (f"{SIGNED}:AAAA", {"key": "x" * MOST_KEY_BYTES}),
    ],
)
def test_malformed_one_time_keys_are_refused(name: object, value: object) -> None:
    with pytest.raises(BadJson):
        read_one_time_key(name, value, SIGNED)


@given(VALUES, VALUES)
def test_no_value_breaks_the_reading_of_one_time_keys(name: Any, value: Any) -> None:
    for each in (name, f"{SIGNED}:AAAA"):
        try:
            found = read_one_time_key(each, value, SIGNED)
        except MatrixError:
            continue
        assert found == canonical(value)
