"""What other servers answer about the keys of their users: only what was asked for is taken.

Spec: server-server API, "End-to-End Encryption".
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from homeserver.core.device_lists import MOST_DEVICES, read_user_keys
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import (
    DeviceKeys,
    Usage,
    read_device_id,
    read_device_keys,
    read_one_time_key,
)
from homeserver.core.json import JsonObject

_NOTHING: Final[JsonObject] = {}


class KeysOfUser(msgspec.Struct, frozen=True):
    """The devices of a user, as far as they were asked for, and the user's cross-signing keys, canonical JSON."""

    devices: dict[DeviceID, DeviceKeys]
    user_keys: dict[Usage, bytes]


def read_queried(
    answer: JsonObject, wanted: Mapping[UserID, Collection[DeviceID]]
) -> tuple[dict[UserID, KeysOfUser], list[str]]:
    """The answer to `POST /user/keys/query`, and why parts of it are left out.

    A user without any devices or keys in the answer is one who has none.
    """
    found: dict[UserID, KeysOfUser] = {}
    refused: list[str] = []
    devices = _object(answer, "device_keys")
    masters, self_signing = _object(answer, "master_keys"), _object(answer, "self_signing_keys")
    for user_id, device_ids in wanted.items():
        user_keys, problems = read_user_keys(masters.get(user_id), self_signing.get(user_id), user_id)
        of_user, others = _read_devices(_object(devices, user_id), user_id, device_ids)
        found[user_id] = KeysOfUser(of_user, {key.usage: key.keys for key in user_keys})
        refused += [*problems, *others]
    return found, refused


def read_claimed(
    answer: JsonObject, wanted: Mapping[UserID, Mapping[DeviceID, str]]
) -> tuple[dict[UserID, dict[DeviceID, tuple[str, bytes]]], list[str]]:
    """The answer to `POST /user/keys/claim`: one key for each device, by its name; and why others are left out."""
    found: dict[UserID, dict[DeviceID, tuple[str, bytes]]] = {}
    refused: list[str] = []
    keys = _object(answer, "one_time_keys")
    for user_id, devices in wanted.items():
        for device_id, algorithm in devices.items():
            given = _object(_object(keys, user_id), device_id)
            # It was asked for one.
            for name, value in list(given.items())[:1]:
                try:
                    key = read_one_time_key(name, value, algorithm)
                except MatrixError as error:
                    refused.append(error.message)
                else:
                    found.setdefault(user_id, {})[device_id] = (name, key)
    return found, refused


def _read_devices(
    given: JsonObject, user_id: UserID, device_ids: Collection[DeviceID]
) -> tuple[dict[DeviceID, DeviceKeys], list[str]]:
    found: dict[DeviceID, DeviceKeys] = {}
    refused: list[str] = []
    if len(given) > MOST_DEVICES:
        return found, [f"{user_id} has more than {MOST_DEVICES} devices"]
    asked = set(device_ids)
    for name, value in given.items():
        if asked and name not in asked:
            refused.append("a device was not asked for")
            continue
        try:
            device_id = read_device_id(name)
            found[device_id] = read_device_keys(value, user_id, device_id)
        except MatrixError as error:
            refused.append(error.message)
    return found, refused


def _object(holder: JsonObject, key: str) -> JsonObject:
    """The object under a key; an empty one for whatever else there is."""
    value = holder.get(key)
    return value if isinstance(value, dict) else _NOTHING
