"""Client-server API, `POST /keys/upload`: what a device may upload."""

from typing import Any

import pytest
from hypothesis import given

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, InvalidParam, MatrixError
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import canonical
from homeserver.core.key_uploads import (
    MOST_FALLBACK_KEYS,
    MOST_KEY_BYTES,
    MOST_UPLOADED,
    KeyUpload,
    read_upload,
)
from tests.key_holders import SIGNED, Device, Keys, public
from tests.unit.mutations import mutations

ALICE = UserID("@alice:example.org")
PHONE = DeviceID("PHONE")
DEVICE = Device(ALICE, PHONE)
KEY = DEVICE.one_time_keys("AAAA")[f"{SIGNED}:AAAA"]
UPLOAD: Keys = {
    "device_keys": DEVICE.keys(),
    "one_time_keys": {**DEVICE.one_time_keys("AAAA", "BBBB"), "curve25519:CCCC": "abc"},
    "fallback_keys": DEVICE.one_time_keys("FFFF", fallback=True),
}


def read(**changes: Any) -> KeyUpload:
    return read_upload(ALICE, PHONE, **{**UPLOAD, **changes})


def test_an_upload() -> None:
    found = read()
    assert found.device is not None
    assert found.device.keys == canonical(DEVICE.keys())
    assert {key.name: key.key for key in found.one_time_keys} == {
        name: canonical(key) for name, key in UPLOAD["one_time_keys"].items()
    }
    assert [(key.algorithm, key.key_id) for key in found.fallback_keys] == [(SIGNED, "FFFF")]
    assert read(device_keys=None).device is None


def test_keys_of_one_name_are_told_apart() -> None:
    one, same = (read(one_time_keys={f"{SIGNED}:AAAA": KEY}).one_time_keys[0] for _ in range(2))
    other = read(one_time_keys={f"{SIGNED}:AAAA": {**KEY, "key": "other"}}).one_time_keys[0]
    assert one.key_hash == same.key_hash != other.key_hash


@pytest.mark.parametrize(
    "device_keys",
    [
        Device(ALICE, "TABLET").keys(),
        Device("@eve:example.org", PHONE).keys(),
        {**DEVICE.keys(), "signatures": {}},
        DEVICE.keys(keys={f"ed25519:{PHONE}": public(DEVICE.key_name), "curve25519:TABLET": "x"}),
        DEVICE.keys(keys={f"ed25519:{PHONE}": public(DEVICE.key_name), "curve25519": "x"}),
        DEVICE.keys(keys={f"ed25519:{PHONE}": public(DEVICE.key_name), f":{PHONE}": "x"}),
        {},
    ],
)
def test_device_keys_are_the_device_s_own(device_keys: Keys) -> None:
    with pytest.raises((BadJson, InvalidSignature)):
        read(device_keys=device_keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"AAAA": KEY},
        {":AAAA": KEY},
        {f"{SIGNED}:": KEY},
        {f"{SIGNED}:A\0": KEY},
        {f"{SIGNED}:" + "x" * 255: KEY},
        {f"{SIGNED}:AAAA": "abc"},
        {f"{SIGNED}:AAAA": None},
        {f"{SIGNED}:AAAA": {}},
        {f"{SIGNED}:AAAA": {"key": "abc"}},
        {f"{SIGNED}:AAAA": {"key": 5, "signatures": {}}},
        {f"{SIGNED}:AAAA": {"key": "abc", "signatures": []}},
        {f"{SIGNED}:AAAA": {**KEY, "number": 1.5}},
        {f"{SIGNED}:AAAA": {**KEY, "key": "x" * MOST_KEY_BYTES}},
        {"curve25519:AAAA": 5},
    ],
)
def test_malformed_keys_are_refused(keys: Any) -> None:
    with pytest.raises(BadJson):
        read(one_time_keys=keys)
    with pytest.raises(BadJson):
        read(fallback_keys=keys)


def test_too_many_keys_are_refused() -> None:
    most = {f"{SIGNED}:{number}": KEY for number in range(MOST_UPLOADED)}
    assert len(read(one_time_keys=most).one_time_keys) == MOST_UPLOADED
    with pytest.raises(InvalidParam):
        read(one_time_keys={**most, f"{SIGNED}:more": KEY})
    fallback = {f"algorithm{number}:A": KEY for number in range(MOST_FALLBACK_KEYS)}
    assert len(read(fallback_keys=fallback).fallback_keys) == MOST_FALLBACK_KEYS
    with pytest.raises(InvalidParam):
        read(fallback_keys={**fallback, "more:A": KEY})


def test_there_is_one_fallback_key_of_each_algorithm() -> None:
    with pytest.raises(InvalidParam):
        read(fallback_keys=DEVICE.one_time_keys("AAAA", "BBBB", fallback=True))


@given(mutations(UPLOAD["one_time_keys"]))
def test_no_one_time_key_breaks_the_reading(keys: Any) -> None:
    try:
        found = read(one_time_keys=keys)
    except MatrixError:
        return
    assert {key.name: key.key for key in found.one_time_keys} == {
        name: canonical(value) for name, value in keys.items()
    }
