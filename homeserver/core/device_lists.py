"""Lists of devices as servers tell each other of them. Spec: server-server API, "Device Management"."""

from collections.abc import Sequence
from typing import Final, NewType

import msgspec

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import (
    DeviceKeys,
    UserKey,
    check_signed_by,
    read_device_id,
    read_device_keys,
    read_user_key,
)
from homeserver.core.json import MAX_SAFE_INTEGER

MOST_DEVICES: Final = 2_000
"""Of one user of another server. Who has more cannot be followed."""

MOST_PREVIOUS: Final = 100
"""Earlier updates that one may refer to."""

StreamID = NewType("StreamID", int)
"""Counts the changes of one user's devices, as that user's server does it."""


class DeviceUpdate(msgspec.Struct, frozen=True):
    """What an m.device_list_update says of one device; `device` is None if it has no keys, or is deleted."""

    device_id: DeviceID
    stream_id: StreamID
    prev_ids: tuple[StreamID, ...]
    device: DeviceKeys | None

    def follows(self, known: StreamID) -> bool:
        """Whether the list of `known`, with this applied, is the one of `stream_id`.

        Stream IDs rise, so what is relative to something that is older than what is known lacks nothing: an
        update is the next one after those that it names. One that names none may be the first of all, or of a
        server that does not say: that is doubtful. So is one that is older than what is known.
        """
        return known < self.stream_id and bool(self.prev_ids) and all(each <= known for each in self.prev_ids)

    def repeats(self, known: StreamID) -> bool:
        """Whether the list of `known` has this applied.

        Not for an update that names no other: there are servers that do not count, send the same one each time, and
        mean that something has changed.
        """
        return self.stream_id == known and bool(self.prev_ids)


class DeviceList(msgspec.Struct, frozen=True):
    """All devices of a user that have keys, and the user's cross-signing keys as far as there are some."""

    stream_id: StreamID
    devices: tuple[DeviceKeys, ...]
    user_keys: tuple[UserKey, ...]


def read_update(content: object, user_id: UserID) -> DeviceUpdate:
    """The `content` of an m.device_list_update about that user. Errors: BadJson, InvalidSignature."""
    if not isinstance(content, dict):
        raise BadJson("content must be an object")
    device_id = read_device_id(content.get("device_id"))
    previous = content.get("prev_id", [])
    if not isinstance(previous, list) or len(previous) > MOST_PREVIOUS:
        raise BadJson(f"prev_id must be an array of up to {MOST_PREVIOUS} numbers")
    keys = content.get("keys")
    device = None
    if not content.get("deleted") and keys is not None:
        device = read_device_keys(keys, user_id, device_id, display_name=content.get("device_display_name"))
    return DeviceUpdate(
        device_id,
        _stream_id(content.get("stream_id")),
        tuple(_stream_id(each) for each in previous),
        device,
    )


def read_list(answer: object, user_id: UserID) -> tuple[DeviceList, list[str]]:
    """The answer to `GET /user/devices/{userId}`, and why parts of it are left out.

    A device whose keys are not good is left out: it could not be sent anything that it would understand.
    Errors: BadJson if the whole is malformed.
    """
    if not isinstance(answer, dict):
        raise BadJson("the answer must be an object")
    if answer.get("user_id") != user_id:
        raise BadJson("the answer is about another user")
    listed = answer.get("devices")
    if not isinstance(listed, list) or len(listed) > MOST_DEVICES:
        raise BadJson(f"devices must be an array of up to {MOST_DEVICES} devices")
    stream_id = _stream_id(answer.get("stream_id"))
    found: dict[DeviceID, DeviceKeys] = {}
    refused: list[str] = []
    for each in listed:
        try:
            device = _listed_device(each, user_id)
        except MatrixError as error:
            refused.append(error.message)
            continue
        if device is not None:
            found[device.device_id] = device
    user_keys, problems = read_user_keys(answer.get("master_key"), answer.get("self_signing_key"), user_id)
    return DeviceList(stream_id, tuple(found.values()), tuple(user_keys)), refused + problems


def read_user_keys(
    master: object, self_signing: object, user_id: UserID, *, known_master: UserKey | None = None
) -> tuple[Sequence[UserKey], list[str]]:
    """The cross-signing keys that are given (not None) and good, the master key first; and why others are not.

    A self-signing key must be signed by the master key: the one beside it, else `known_master`.
    """
    found: list[UserKey] = []
    refused: list[str] = []
    try:
        if master is not None:
            known_master = read_user_key(master, user_id, "master")
            found.append(known_master)
        if self_signing is not None:
            key = read_user_key(self_signing, user_id, "self_signing")
            if known_master is None:
                raise InvalidSignature("there is no master key that would have signed the self-signing key")
            check_signed_by(self_signing, user_id, known_master)
            found.append(key)
    except MatrixError as error:
        refused.append(error.message)
    return found, refused


def _listed_device(value: object, user_id: UserID) -> DeviceKeys | None:
    if not isinstance(value, dict):
        raise BadJson("a device must be an object")
    device_id = read_device_id(value.get("device_id"))
    keys = value.get("keys")
    if keys is None or keys == {}:
        return None
    return read_device_keys(keys, user_id, device_id, display_name=value.get("device_display_name"))


def _stream_id(value: object) -> StreamID:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_SAFE_INTEGER:
        raise BadJson("a stream ID must be an integer")
    return StreamID(value)
