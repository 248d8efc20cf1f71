"""Server-server API, "Device Management": updates of lists of devices, and whole lists."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.device_lists import (
    MOST_DEVICES,
    MOST_PREVIOUS,
    DeviceUpdate,
    StreamID,
    read_list,
    read_update,
    read_user_keys,
)
from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import read_user_key
from homeserver.core.json import canonical
from tests.key_holders import Device, Identity, Keys
from tests.unit.mutations import VALUES, mutations

ALICE = UserID("@alice:example.org")
DEVICE = Device(ALICE, "PHONE")
IDENTITY = Identity(ALICE)
UPDATE: Keys = {
    "user_id": ALICE,
    "device_id": "PHONE",
    "device_display_name": "My phone",
    "stream_id": 6,
    "prev_id": [5],
    "deleted": False,
    "keys": DEVICE.keys(),
}
LIST: Keys = {
    "user_id": ALICE,
    "stream_id": 5,
    "devices": [{"device_id": "PHONE", "device_display_name": "My phone", "keys": DEVICE.keys()}],
    "master_key": IDENTITY.key("master"),
    "self_signing_key": IDENTITY.key("self_signing"),
}


def update(stream_id: int, *prev_ids: int) -> DeviceUpdate:
    return DeviceUpdate(
        DeviceID("PHONE"), StreamID(stream_id), tuple(StreamID(each) for each in prev_ids), None
    )


@pytest.mark.parametrize(
    ("change", "known", "expected"),
    [
        (update(6, 5), 5, True),
        (update(9, 5), 5, True),
        (update(6, 4, 5), 5, True),
        # What it stands on is not known.
        (update(7, 6), 5, False),
        (update(7, 5, 6), 5, False),
        # It does not say what it stands on.
        (update(6), 5, False),
        # Old, or the same again.
        (update(5, 4), 5, False),
        (update(4, 3), 5, False),
    ],
)
def test_which_updates_follow(change: DeviceUpdate, known: int, expected: bool) -> None:
    assert change.follows(StreamID(known)) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (update(5, 4), True),
        (update(5, 3, 4), True),
        (update(4, 3), False),
        (update(6, 5), False),
        # It may be another one of a server that does not count.
        (update(5), False),
    ],
)
def test_which_updates_repeat_what_is_known(change: DeviceUpdate, expected: bool) -> None:
    assert change.repeats(StreamID(5)) is expected


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=12).map(
        lambda steps: [sum(steps[: index + 1]) for index in range(len(steps))]
    ),
    st.data(),
)
def test_a_chain_is_followed_in_its_order_alone(numbers: list[int], data: st.DataObject) -> None:
    """Each update names the one before it: any order leads to the last one or to a doubt."""
    chain = [update(number, before) for before, number in zip([0, *numbers], numbers, strict=False)]
    delivered = data.draw(st.permutations(chain))
    known = StreamID(0)
    for each in delivered:
        if not each.follows(known):
            break
        known = each.stream_id
    else:
        assert delivered == chain
        assert known == numbers[-1]
    assert delivered == chain or known < numbers[-1]


def test_an_update() -> None:
    found = read_update(UPDATE, ALICE)
    assert (found.device_id, found.stream_id, found.prev_ids) == ("PHONE", 6, (5,))
    assert found.device is not None
    assert found.device.keys == canonical(DEVICE.keys())
    assert found.device.display_name == "My phone"


@pytest.mark.parametrize("changes", [{"deleted": True}, {"keys": None}, {"deleted": True, "keys": 5}])
def test_updates_of_devices_that_have_no_keys_any_more(changes: Keys) -> None:
    assert read_update({**UPDATE, **changes}, ALICE).device is None


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": None},
        {"device_id": ""},
        {"device_id": "TABLET"},
        {"stream_id": None},
        {"stream_id": "6"},
        {"stream_id": True},
        {"stream_id": 6.0},
        {"stream_id": 2**53},
        {"prev_id": 5},
        {"prev_id": ["5"]},
        {"prev_id": [None]},
        {"prev_id": [1] * (MOST_PREVIOUS + 1)},
        {"keys": {}},
        {"keys": []},
        {"keys": Device(ALICE, "TABLET").keys()},
        {"keys": Device("@eve:example.org", "PHONE").keys()},
        {"keys": {**DEVICE.keys(), "algorithms": []}},
    ],
)
def test_malformed_updates_are_refused(changes: Keys) -> None:
    with pytest.raises((BadJson, InvalidSignature)):
        read_update({**UPDATE, **changes}, ALICE)


@given(st.one_of(mutations(UPDATE), VALUES))
def test_no_update_breaks_the_reading(value: Any) -> None:
    try:
        found = read_update(value, ALICE)
    except MatrixError:
        return
    if found.device is not None:
        assert found.device.device_id == found.device_id == "PHONE"


def test_a_list() -> None:
    found, refused = read_list(LIST, ALICE)
    assert refused == []
    assert found.stream_id == 5
    assert [device.keys for device in found.devices] == [canonical(DEVICE.keys())]
    assert [(key.usage, key.keys) for key in found.user_keys] == [
        ("master", canonical(LIST["master_key"])),
        ("self_signing", canonical(LIST["self_signing_key"])),
    ]


def test_bad_devices_are_left_out_of_a_list() -> None:
    """They could not be sent anything; the others can."""
    bad = [
        5,
        {},
        {"device_id": "TABLET", "keys": DEVICE.keys()},
        {"device_id": "TABLET", "keys": Device("@eve:example.org", "TABLET").keys()},
        {"device_id": "TABLET", "keys": {**Device(ALICE, "TABLET").keys(), "signatures": {}}},
    ]
    found, refused = read_list({**LIST, "devices": [*bad, *LIST["devices"]]}, ALICE)
    assert [device.device_id for device in found.devices] == ["PHONE"]
    assert len(refused) == len(bad)


@pytest.mark.parametrize("keys", [None, {}])
def test_devices_without_keys_are_none(keys: object) -> None:
    found, refused = read_list({**LIST, "devices": [{"device_id": "PHONE", "keys": keys}]}, ALICE)
    assert (found.devices, refused) == ((), [])


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": "@eve:example.org"},
        {"user_id": None},
        {"devices": None},
        {"devices": {}},
        {"devices": [{}] * (MOST_DEVICES + 1)},
        {"stream_id": None},
        {"stream_id": "5"},
    ],
)
def test_malformed_lists_are_refused(changes: Keys) -> None:
    with pytest.raises(BadJson):
        read_list({**LIST, **changes}, ALICE)


@pytest.mark.parametrize(
    ("changes", "usages"),
    [
        ({"master_key": None}, []),
        ({"self_signing_key": None}, ["master"]),
        ({"self_signing_key": Identity(ALICE, "second").key("self_signing")}, ["master"]),
        ({"self_signing_key": Identity("@eve:example.org").key("self_signing")}, ["master"]),
        ({"self_signing_key": IDENTITY.key("user_signing")}, ["master"]),
        ({"master_key": Identity("@eve:example.org").key("master")}, []),
        ({"master_key": 5}, []),
    ],
)
def test_bad_cross_signing_keys_are_left_out_of_a_list(changes: Keys, usages: list[str]) -> None:
    found, refused = read_list({**LIST, **changes}, ALICE)
    assert [key.usage for key in found.user_keys] == usages
    assert len(found.devices) == 1
    assert bool(refused) == (changes != {"self_signing_key": None})


@given(st.one_of(mutations(LIST), VALUES))
def test_no_list_breaks_the_reading(value: Any) -> None:
    try:
        found, _ = read_list(value, ALICE)
    except MatrixError:
        return
    assert {device.device_id for device in found.devices} <= {"PHONE"}
    if len(found.user_keys) == 2:
        assert found.user_keys[0].public_key == IDENTITY.public("master")


def test_a_self_signing_key_may_come_alone_if_the_master_key_is_known() -> None:
    master = read_user_key(IDENTITY.key("master"), ALICE, "master")
    found, refused = read_user_keys(None, IDENTITY.key("self_signing"), ALICE, known_master=master)
    assert ([key.usage for key in found], refused) == (["self_signing"], [])
    other = read_user_key(Identity(ALICE, "second").key("master"), ALICE, "master")
    found, refused = read_user_keys(None, IDENTITY.key("self_signing"), ALICE, known_master=other)
    assert (list(found), len(refused)) == ([], 1)
