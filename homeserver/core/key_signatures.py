"""Signatures on keys that are kept: by which keys they are, and how more of them are added.

Keys are kept as `core.identity_keys` reads them: canonical JSON, with signatures of one user alone.
Spec: client-server API, "Cross-signing".
"""

from collections.abc import Mapping

import msgspec

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import JsonObject, canonical_without_floats, decode_object
from homeserver.core.signing import ALGORITHM, signed_bytes, verify_json


class VerifyKey(msgspec.Struct, frozen=True):
    """A public key that signs, and what it is called in signatures."""

    key_id: str
    public: bytes


def verify_key_of_device(keys: bytes, device_id: DeviceID) -> VerifyKey:
    """The key by which a device signs; `keys` are those of the device."""
    key_id = f"{ALGORITHM}:{device_id}"
    return VerifyKey(key_id, _public(decode_object(keys), key_id))


def verify_key_of_user(keys: bytes) -> VerifyKey:
    """A cross-signing key as one that signs."""
    value = decode_object(keys)
    named = value["keys"]
    key_id = next(iter(named)) if isinstance(named, dict) else ""
    return VerifyKey(key_id, _public(value, key_id))


def name_of(key: VerifyKey) -> str:
    """What a cross-signing key is called where devices are called by their IDs: as it is."""
    return key.key_id.partition(":")[2]


def signatures_on(keys: bytes, user_id: UserID) -> dict[str, str]:
    """The user's signatures on a key, by what made them."""
    by_user = decode_object(keys).get("signatures")
    own = by_user.get(user_id) if isinstance(by_user, dict) else None
    return {key_id: str(text) for key_id, text in own.items()} if isinstance(own, dict) else {}


def with_signatures(keys: bytes, signatures: Mapping[UserID, Mapping[str, str]]) -> bytes:
    """The key with these signatures and no others."""
    value = {name: item for name, item in decode_object(keys).items() if name != "signatures"}
    signed: JsonObject = {user_id: dict(own.items()) for user_id, own in signatures.items() if own}
    return canonical_without_floats({**value, "signatures": signed} if signed else value)


def is_same(keys: bytes, others: bytes) -> bool:
    """Whether both are the same key, whatever signatures there are on them."""
    return signed_bytes(decode_object(keys)) == signed_bytes(decode_object(others))


def verified(keys: bytes, user_id: UserID, known: Mapping[str, VerifyKey]) -> dict[str, str]:
    """Those of the user's signatures on a key that are by `known` keys, and good."""
    value = decode_object(keys)
    found = {}
    for key_id, signature in signatures_on(keys, user_id).items():
        key = known.get(key_id)
        if key is None:
            continue
        try:
            verify_json(value, user_id, key_id, key.public)
        except InvalidSignature:
            continue
        found[key_id] = signature
    return found


def new_signature(given: JsonObject, keys: bytes, signer: UserID, by: VerifyKey) -> str:
    """The signature that `signer` has made with `by` on the key `keys`, as it stands on the copy that was given.

    Errors: InvalidSignature if there is none or it is not good, or the copy is of another key; BadJson.
    Spec: "The signed JSON object must match the key previously uploaded or retrieved for the given key ID, with the
    exception of the `signatures` property".
    """
    if signed_bytes(given) != signed_bytes(decode_object(keys)):
        raise InvalidSignature("what is signed is not the key that is known here")
    verify_json(given, signer, by.key_id, by.public)
    signatures = given["signatures"]
    own = signatures[signer] if isinstance(signatures, dict) else None
    return str(own[by.key_id]) if isinstance(own, dict) else ""


def signers(given: JsonObject, signer: UserID) -> list[str]:
    """By which keys the user has signed, as the copy says."""
    signatures = given.get("signatures")
    own = signatures.get(signer) if isinstance(signatures, dict) else None
    return [*own] if isinstance(own, dict) else []


def _public(value: JsonObject, key_id: str) -> bytes:
    named = value["keys"]
    text = named[key_id] if isinstance(named, dict) else ""
    return decode_base64(str(text))
