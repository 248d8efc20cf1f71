"""Server-server API, "End-to-End Encryption": what is taken of other servers' answers about keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.device_lists import MOST_DEVICES
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import canonical
from homeserver.core.key_answers import KeysOfUser, read_claimed, read_queried
from tests.key_holders import SIGNED, Device, Identity, Keys
from tests.unit.mutations import mutations

ALICE = UserID("@alice:example.org")
BOB = UserID("@bob:example.org")
PHONE = DeviceID("PHONE")
DEVICE = Device(ALICE, PHONE)
TABLET = Device(ALICE, "TABLET")
IDENTITY = Identity(ALICE)
QUERIED: Keys = {
    "device_keys": {ALICE: {PHONE: DEVICE.keys(), "TABLET": TABLET.keys()}},
    "master_keys": {ALICE: IDENTITY.key("master")},
    "self_signing_keys": {ALICE: IDENTITY.key("self_signing")},
}
CLAIMED: Keys = {"one_time_keys": {ALICE: {PHONE: DEVICE.one_time_keys("AAAA")}}}
WANTED = {ALICE: {PHONE: SIGNED}}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([ALICE, PHONE]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["device_keys", "master_keys", "one_time_keys", ALICE, PHONE, "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def usages_of(found: KeysOfUser) -> set[str]:
    return {*found.user_keys}


def test_an_answer_about_devices() -> None:
    found, refused = read_queried(QUERIED, {ALICE: [], BOB: []})
    assert refused == []
    assert found[BOB] == KeysOfUser({}, {})
    assert {name: device.keys for name, device in found[ALICE].devices.items()} == {
        PHONE: canonical(DEVICE.keys()),
        "TABLET": canonical(TABLET.keys()),
    }
    assert found[ALICE].user_keys == {
        "master": canonical(QUERIED["master_keys"][ALICE]),
        "self_signing": canonical(QUERIED["self_signing_keys"][ALICE]),
    }


def test_only_what_was_asked_for_is_taken() -> None:
    """A server might slip in devices, or users who are not its own, or a key for whom it likes."""
    found, refused = read_queried(QUERIED, {ALICE: [PHONE]})
    assert {*found[ALICE].devices} == {PHONE}
    assert len(refused) == 1
    found, _ = read_queried(QUERIED, {BOB: []})
    assert found == {BOB: KeysOfUser({}, {})}


@pytest.mark.parametrize(
    "devices",
    [
        {PHONE: TABLET.keys()},
        {PHONE: Device("@eve:example.org", PHONE).keys()},
        {PHONE: {**DEVICE.keys(), "signatures": {}}},
        {PHONE: 5},
        {"": DEVICE.keys()},
        {"a\nb": Device(ALICE, "a\nb").keys()},
        {f"D{number}": {} for number in range(MOST_DEVICES + 1)},
        [DEVICE.keys()],
    ],
)
def test_bad_devices_are_left_out(devices: Any) -> None:
    found, refused = read_queried({**QUERIED, "device_keys": {ALICE: devices}}, {ALICE: []})
    assert found[ALICE].devices == {}
    assert usages_of(found[ALICE]) == {"master", "self_signing"}
    assert bool(refused) == isinstance(devices, dict)


@pytest.mark.parametrize(
    ("changes", "usages"),
    [
        ({"master_keys": {ALICE: Identity(ALICE, "second").key("master")}}, {"master"}),
        ({"master_keys": {ALICE: Identity(BOB).key("master")}}, set()),
        ({"master_keys": {}}, set()),
        ({"master_keys": []}, set()),
        ({"self_signing_keys": {ALICE: IDENTITY.key("user_signing")}}, {"master"}),
        ({"self_signing_keys": 5}, {"master"}),
    ],
)
def test_a_self_signing_key_stands_on_the_master_key_beside_it(changes: Keys, usages: set[str]) -> None:
    found, _ = read_queried({**QUERIED, **changes}, {ALICE: []})
    assert usages_of(found[ALICE]) == usages
    assert len(found[ALICE].devices) == 2


@given(st.one_of(mutations(QUERIED), st.dictionaries(st.text(max_size=5), ANYTHING, max_size=3)))
def test_no_answer_about_devices_breaks_the_reading(answer: Any) -> None:
    found, _ = read_queried(answer, {ALICE: [], BOB: [PHONE]})
    assert {*found} == {ALICE, BOB}
    good = {PHONE: canonical(DEVICE.keys()), "TABLET": canonical(TABLET.keys())}
    for name, device in found[ALICE].devices.items():
        # What is not signed may be gone from it, and more of the user's signatures may be there.
        assert device.device_id == name
        assert name in good
    if "self_signing" in found[ALICE].user_keys:
        assert found[ALICE].user_keys["master"]


def test_claimed_keys() -> None:
    found, refused = read_claimed(CLAIMED, WANTED)
    key = CLAIMED["one_time_keys"][ALICE][PHONE][f"{SIGNED}:AAAA"]
    assert found == {ALICE: {PHONE: (f"{SIGNED}:AAAA", canonical(key))}}
    assert refused == []


def test_one_key_is_taken_for_each_device() -> None:
    keys = DEVICE.one_time_keys("AAAA", "BBBB")
    found, _ = read_claimed({"one_time_keys": {ALICE: {PHONE: keys}}}, WANTED)
    assert [name for name, _ in found[ALICE].values()] == [f"{SIGNED}:AAAA"]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"one_time_keys": []},
        {"one_time_keys": {BOB: {PHONE: DEVICE.one_time_keys("AAAA")}}},
        {"one_time_keys": {ALICE: {"TABLET": DEVICE.one_time_keys("AAAA")}}},
        {"one_time_keys": {ALICE: [DEVICE.one_time_keys("AAAA")]}},
        {"one_time_keys": {ALICE: {PHONE: {}}}},
        {"one_time_keys": {ALICE: {PHONE: {"curve25519:AAAA": "abc"}}}},
        {"one_time_keys": {ALICE: {PHONE: {f"{SIGNED}:AAAA": 5}}}},
        {"one_time_keys": {ALICE: {PHONE: {f"{SIGNED}:AAAA": {"key": None}}}}},
    ],
)
def test_no_other_keys_are_taken(answer: Any) -> None:
    assert read_claimed(answer, WANTED)[0] == {}


@given(st.one_of(mutations(CLAIMED), st.dictionaries(st.text(max_size=5), ANYTHING, max_size=3)))
def test_no_claimed_key_breaks_the_reading(answer: Any) -> None:
    found, _ = read_claimed(answer, WANTED)
    assert {*found} <= {ALICE}
    for devices in found.values():
        assert {*devices} == {PHONE}
        assert all(name.startswith(f"{SIGNED}:") for name, _ in devices.values())
