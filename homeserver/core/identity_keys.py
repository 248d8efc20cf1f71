"""Keys by which devices and users are known, as another server gives them: what of it may be believed.

Only what is signed by the right key is taken. Whether that key is the right one, clients verify.
Spec: client-server API, "Device keys" and "Cross-signing".
"""

from typing import Final, Literal

import attrs

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import JsonObject, JsonValue, canonical_without_floats, check_canonical
from homeserver.core.signing import ALGORITHM, verify_json

MOST_KEY_BYTES: Final = 64 * 1024
"""Of a device's or a user's key with its signatures; what clients make has a few hundred."""

MOST_NAME: Final = 256
"""Characters of a device's name."""

MOST_DEVICE_ID_BYTES: Final = 255

Usage = Literal["master", "self_signing", "user_signing"]
"""Other servers tell of the first two: user_signing is for its user's eyes only."""


@attrs.frozen(slots=True)
class DeviceKeys:
    """The keys of a device: canonical JSON, with the user's own signatures alone, without `unsigned`."""

    device_id: DeviceID
    keys: bytes = attrs.field(repr=False)
    display_name: str | None = None


@attrs.frozen(slots=True)
class UserKey:
    """A cross-signing key: canonical JSON, with the user's own signatures alone."""

    usage: Usage
    public_key: str
    keys: bytes = attrs.field(repr=False)


def read_device_id(value: object) -> DeviceID:
    """The ID of a device. Errors: BadJson."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise BadJson("a device ID is a text without control characters")
    if len(value.encode(errors="surrogatepass")) > MOST_DEVICE_ID_BYTES:
        raise BadJson(f"a device ID has at most {MOST_DEVICE_ID_BYTES} bytes")
    return DeviceID(value)


def read_device_keys(
    value: object, user_id: UserID, device_id: DeviceID, *, display_name: object = None
) -> DeviceKeys:
    """The keys of that device, which it must have signed itself; what is not signed of them is left out.

    Without `display_name` the name is the one in `unsigned`.
    Errors: BadJson if they are malformed, or of another device; InvalidSignature.
    """
    keys = _signed_object(value, user_id)
    if keys.get("device_id") != device_id:
        raise BadJson("the keys are of another device")
    algorithms = keys.get("algorithms")
    if not isinstance(algorithms, list) or not all(isinstance(each, str) for each in algorithms):
        raise BadJson("algorithms must be an array of texts")
    key_id = f"{ALGORITHM}:{device_id}"
    verify_json(keys, user_id, key_id, _public_bytes(_texts(keys.get("keys"), "keys").get(key_id)))
    if display_name is None and isinstance(value, dict):
        unsigned = value.get("unsigned")
        display_name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
    return DeviceKeys(device_id, _bounded(keys), read_name(display_name))


def read_name(value: object) -> str | None:
    """The name of a device as far as it is one: it is no more than a help for people."""
    if not isinstance(value, str):
        return None
    # Not every database can keep a NUL, and none a lone surrogate.
    text = value.replace("\0", "").encode(errors="replace").decode()
    return text[:MOST_NAME] or None


def read_user_key(value: object, user_id: UserID, usage: Usage) -> UserKey:
    """A cross-signing key of that user. Whether a self-signing key is signed, `check_signed_by` says.

    Errors: BadJson.
    """
    keys = _signed_object(value, user_id)
    usages = keys.get("usage")
    if not isinstance(usages, list) or usage not in usages:
        raise BadJson(f"the key is not for {usage}")
    named = _texts(keys.get("keys"), "keys")
    if len(named) != 1:
        raise BadJson("there must be exactly one key")
    ((key_id, public_key),) = named.items()
    if key_id != f"{ALGORITHM}:{public_key}":
        raise BadJson("a cross-signing key is called as it is")
    _public_bytes(public_key)
    return UserKey(usage, public_key, _bounded(keys))


def check_signed_by(value: object, user_id: UserID, master: UserKey) -> None:
    """Check that the master key has signed a key of the same user. Errors: BadJson, InvalidSignature."""
    if not isinstance(value, dict):
        raise BadJson("the key must be an object")
    key_id = f"{ALGORITHM}:{master.public_key}"
    verify_json(value, user_id, key_id, _public_bytes(master.public_key))


def read_one_time_key(name: object, value: object, algorithm: str) -> bytes:
    """A one-time key as it goes to the client that has claimed it: canonical JSON.

    Errors: BadJson if it is not of the algorithm that was asked for, or malformed.
    """
    if not isinstance(name, str) or name.partition(":")[0] != algorithm or len(name) > MOST_DEVICE_ID_BYTES:
        raise BadJson("the key is of another algorithm")
    if isinstance(value, dict):
        if not isinstance(value.get("key"), str):
            raise BadJson("the key lacks its key")
    elif not isinstance(value, str):
        raise BadJson("a one-time key is a text or an object")
    check_canonical(value)
    return _bounded(value)


def _signed_object(value: object, user_id: UserID) -> JsonObject:
    """A copy of a key object of that user, with no signatures but the user's own, and nothing unsigned."""
    if not isinstance(value, dict):
        raise BadJson("keys must be an object")
    if value.get("user_id") != user_id:
        raise BadJson("the keys are of another user")
    keys: JsonObject = {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
    check_canonical(keys)
    signatures = value.get("signatures")
    own = signatures.get(user_id) if isinstance(signatures, dict) else None
    if own is not None:
        keys["signatures"] = {user_id: {**_texts(own, "signatures")}}
    return keys


def _texts(value: object, what: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise BadJson(f"{what} must be an object of texts")
    return value


def _public_bytes(text: str | None) -> bytes:
    try:
        key = decode_base64(text or "")
    except ValueError:
        key = b""
    if len(key) != 32:
        raise InvalidSignature("the key that signs is missing or malformed")
    return key


def _bounded(value: JsonValue) -> bytes:
    data = canonical_without_floats(value)
    if len(data) > MOST_KEY_BYTES:
        raise BadJson(f"a key has at most {MOST_KEY_BYTES} bytes")
    return data
