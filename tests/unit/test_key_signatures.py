"""Client-server API, "Cross-signing": signatures on keys that are kept."""

from typing import Any

import pytest
from hypothesis import given

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import MatrixError
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import canonical, decode_object
from homeserver.core.key_signatures import (
    is_same,
    name_of,
    new_signature,
    signatures_on,
    signers,
    verified,
    verify_key_of_device,
    verify_key_of_user,
    with_signatures,
)
from tests.key_holders import Device, Identity, public, signed
from tests.unit.mutations import mutations

ALICE = UserID("@alice:example.org")
BOB = UserID("@bob:example.org")
PHONE = DeviceID("PHONE")
DEVICE = Device(ALICE, PHONE)
IDENTITY = Identity(ALICE)
KEYS = canonical(DEVICE.keys())
MASTER = canonical(IDENTITY.key("master"))
SELF_SIGNING = verify_key_of_user(canonical(IDENTITY.key("self_signing")))
SIGNED_KEYS = IDENTITY.signed("self_signing", DEVICE.keys())


def test_the_keys_that_sign() -> None:
    by_device = verify_key_of_device(KEYS, PHONE)
    assert (by_device.key_id, by_device.public) == ("ed25519:PHONE", decode_base64(public(DEVICE.key_name)))
    by_user = verify_key_of_user(MASTER)
    assert by_user.key_id == f"ed25519:{IDENTITY.public('master')}"
    assert by_user.public == decode_base64(IDENTITY.public("master"))
    assert name_of(by_user) == IDENTITY.public("master")


def test_signatures_are_added_and_taken_off() -> None:
    assert {*signatures_on(KEYS, ALICE)} == {"ed25519:PHONE"}
    assert signatures_on(KEYS, BOB) == {}
    bare = with_signatures(KEYS, {})
    assert "signatures" not in decode_object(bare)
    assert is_same(bare, KEYS)
    both = with_signatures(bare, {ALICE: {"ed25519:x": "1"}, BOB: {}})
    assert decode_object(both)["signatures"] == {ALICE: {"ed25519:x": "1"}}
    assert is_same(both, KEYS)
    assert not is_same(canonical(DEVICE.keys(algorithms=[])), KEYS)


def test_good_signatures_by_known_keys_are_verified() -> None:
    bad = signed(SIGNED_KEYS, ALICE, IDENTITY.public("user_signing"), "eve")
    known = {SELF_SIGNING.key_id: SELF_SIGNING}
    wrong = verify_key_of_user(canonical(IDENTITY.key("user_signing")))
    found = verified(canonical(bad), ALICE, {**known, wrong.key_id: wrong})
    # The device's own is by a key that is not asked about, the other one by another key than it says.
    assert {*found} == {SELF_SIGNING.key_id}
    assert verified(canonical(bad), BOB, known) == {}


def test_a_new_signature_is_taken_off_the_copy() -> None:
    expected = SIGNED_KEYS["signatures"][ALICE][SELF_SIGNING.key_id]
    assert new_signature(SIGNED_KEYS, KEYS, ALICE, SELF_SIGNING) == expected
    # What is not signed, and other signatures, need not be the same.
    only = {**SIGNED_KEYS, "signatures": {ALICE: {SELF_SIGNING.key_id: expected}}, "unsigned": {"a": 1}}
    assert new_signature(only, KEYS, ALICE, SELF_SIGNING) == expected
    assert {*signers(SIGNED_KEYS, ALICE)} == {"ed25519:PHONE", SELF_SIGNING.key_id}
    assert signers(SIGNED_KEYS, BOB) == signers({"signatures": 5}, ALICE) == []


@pytest.mark.parametrize(
    "given_",
    [
        DEVICE.keys(),
        {**SIGNED_KEYS, "algorithms": []},
        Identity(ALICE, "second").signed("self_signing", DEVICE.keys()),
        signed(DEVICE.keys(), ALICE, IDENTITY.public("self_signing"), "eve"),
        signed(DEVICE.keys(), BOB, IDENTITY.public("self_signing"), IDENTITY.key_name("self_signing")),
        {**SIGNED_KEYS, "signatures": []},
        {**SIGNED_KEYS, "signatures": {ALICE: 5}},
        {},
    ],
)
def test_no_other_signature_is_taken(given_: Any) -> None:
    with pytest.raises(InvalidSignature):
        new_signature(given_, KEYS, ALICE, SELF_SIGNING)


@given(mutations(SIGNED_KEYS))
def test_a_signature_that_is_taken_is_good(value: Any) -> None:
    try:
        signature = new_signature(value, KEYS, ALICE, SELF_SIGNING)
    except MatrixError:
        return
    kept = with_signatures(KEYS, {ALICE: {SELF_SIGNING.key_id: signature}})
    assert {*verified(kept, ALICE, {SELF_SIGNING.key_id: SELF_SIGNING})} == {SELF_SIGNING.key_id}
