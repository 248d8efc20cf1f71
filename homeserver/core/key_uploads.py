"""What a device uploads of its keys: whether it is well formed, and the device's own.

Spec: client-server API, "Key algorithms", "Device keys", "One-time and fallback keys".
"""

import hashlib
from typing import Final

import attrs
import msgspec

from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import DeviceKeys, read_device_keys
from homeserver.core.json import JsonObject, JsonValue, canonical_without_floats, check_canonical

MOST_UPLOADED: Final = 1_000
"""One-time keys in one request; clients upload about 50."""

MOST_FALLBACK_KEYS: Final = 20
"""Of one device: one of each algorithm."""

MOST_NAME_BYTES: Final = 255
MOST_KEY_BYTES: Final = 4 * 1024
"""Of a one-time key with its signatures; what clients make has about 200."""

SIGNED_CURVE25519: Final = "signed_curve25519"


@attrs.frozen(slots=True)
class OneTimeKey:
    """A one-time or fallback key: the two parts of its name, and the key itself as canonical JSON."""

    algorithm: str
    key_id: str
    key: bytes = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The name that clients know it by."""
        return f"{self.algorithm}:{self.key_id}"

    @property
    def key_hash(self) -> bytes:
        """Tells it from another key of that name."""
        return hashlib.sha256(self.key).digest()


class KeyUpload(msgspec.Struct, frozen=True):
    """What a device has uploaded."""

    device: DeviceKeys | None
    one_time_keys: tuple[OneTimeKey, ...]
    fallback_keys: tuple[OneTimeKey, ...]


def read_upload(
    user_id: UserID,
    device_id: DeviceID,
    *,
    device_keys: JsonObject | None,
    one_time_keys: JsonObject,
    fallback_keys: JsonObject,
) -> KeyUpload:
    """Check what a device has uploaded.

    Errors: BadJson if something is malformed, or the keys are another device's; InvalidSignature if the device has not
    signed them; InvalidParam if there is too much.
    """
    if len(one_time_keys) > MOST_UPLOADED:
        raise InvalidParam(f"at most {MOST_UPLOADED} one-time keys can be uploaded at once")
    if len(fallback_keys) > MOST_FALLBACK_KEYS:
        raise InvalidParam(f"a device has at most {MOST_FALLBACK_KEYS} fallback keys")
    device = None if device_keys is None else _read_device(device_keys, user_id, device_id)
    fallback = tuple(_read_one_time_key(name, value) for name, value in fallback_keys.items())
    # "There can only be at most one key per algorithm uploaded".
    if len({key.algorithm for key in fallback}) < len(fallback):
        raise InvalidParam("there can be one fallback key of each algorithm")
    return KeyUpload(
        device, tuple(_read_one_time_key(name, value) for name, value in one_time_keys.items()), fallback
    )


def _read_device(value: JsonObject, user_id: UserID, device_id: DeviceID) -> DeviceKeys:
    device = read_device_keys(value, user_id, device_id)
    named = value["keys"]
    for name in named if isinstance(named, dict) else ():
        algorithm, colon, key_of = name.partition(":")
        if not algorithm or not colon or key_of != device_id:
            raise BadJson(f"{name} is no name of one of the device's keys: they are <algorithm>:{device_id}")
    return device


def _read_one_time_key(name: str, value: JsonValue) -> OneTimeKey:
    algorithm, _, key_id = name.partition(":")
    if not algorithm or not key_id or "\0" in name or len(name.encode()) > MOST_NAME_BYTES:
        raise BadJson(
            f"a key's name is <algorithm>:<key_id>, of at most {MOST_NAME_BYTES} bytes and without NUL"
        )
    if isinstance(value, dict):
        if not isinstance(value.get("key"), str):
            raise BadJson(f"{name}: the key lacks `key`, a text")
        if not isinstance(value.get("signatures"), dict):
            raise BadJson(f"{name}: the key lacks `signatures`, an object")
    elif not isinstance(value, str) or algorithm == SIGNED_CURVE25519:
        raise BadJson(f"{name}: the key must be an object")
    check_canonical(value)
    key = canonical_without_floats(value)
    if len(key) > MOST_KEY_BYTES:
        raise BadJson(f"{name}: a key has at most {MOST_KEY_BYTES} bytes")
    return OneTimeKey(algorithm, key_id, key)
