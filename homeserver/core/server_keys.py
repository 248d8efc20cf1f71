"""Keys that servers publish, and for which moments they are valid.

Spec: server-server API, "Retrieving server keys".
"""

import re
from collections.abc import Mapping
from typing import Final

import attrs
import msgspec

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.hashes import decode_base64, encode_base64
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.json import MAX_SAFE_INTEGER, JsonObject, JsonValue
from homeserver.core.signing import ALGORITHM, SigningKey, sign_json, verify_json

MAX_KEYS: Final = 50
"""Of a server, old ones among them. Servers have one, and change it every few years if at all."""

MAX_SIGNATURES: Final = 100
"""Of a response, by its server and by notaries."""

MAX_RESPONSE_BYTES: Final = 64 * 1024
"""Of one server's response."""

LONGEST_VALIDITY_MS: Final = 7 * 24 * 3_600_000
"""For how long a key may be taken for current, whatever its server says."""

_KEY_ID = re.compile(r"[a-zA-Z0-9_]{1,20}:[a-zA-Z0-9_]{1,200}")


class WantedKey(msgspec.Struct, frozen=True):
    """A key that is needed to check a signature.

    `valid_at_ts` is the moment for which it must be valid; None: any (room versions 1 to 4).
    """

    server_name: ServerName
    key_id: str
    valid_at_ts: int | None


class VerifyKey(msgspec.Struct, frozen=True):
    """A public key of a server.

    `key` is 32 bytes. `valid_until_ts` is until when it may be taken for current; with `is_old`, when it
    expired.
    """

    key: bytes
    valid_until_ts: int
    is_old: bool = False

    def is_valid_at(self, moment_ts: int | None) -> bool:
        """Whether an event of that moment may be checked with it; None: whenever the event was made.

        Spec: room version 5, "Signing key validity period".
        """
        return moment_ts is None or moment_ts <= self.valid_until_ts


@attrs.frozen
class ServerKeysResponse:
    """What a server has published about its keys, checked.

    `keys` are those of the algorithm that this server knows, old ones among them. `valid_until_ts` is not
    further away than it may be. `document` is the response as its server signed it, with the signatures of
    notaries.
    """

    server_name: ServerName
    keys: Mapping[str, VerifyKey]
    valid_until_ts: int
    document: JsonObject = attrs.field(repr=False)


def is_key_id(text: str) -> bool:
    """Whether a text looks like a key's identifier, of whatever algorithm."""
    return _KEY_ID.fullmatch(text) is not None


def read_response(document: JsonObject, server_name: ServerName, *, now_ts: int) -> ServerKeysResponse:
    """Check a response of `/_matrix/key/v2/server`, wherever it comes from.

    It must be signed with every current key that it lists: so nobody publishes a key that is not theirs.

    Errors: BadJson if it is malformed, too large, of another server, or without a current key that this
    server knows to use; InvalidSignature.
    """
    if document.get("server_name") != server_name:
        raise BadJson("the keys are those of another server")
    valid_until_ts = _moment(document, "valid_until_ts")
    current = _keys(document.get("verify_keys"), "verify_keys")
    old = _keys(document.get("old_verify_keys", {}), "old_verify_keys")
    if len(current) + len(old) > MAX_KEYS:
        raise BadJson(f"the server has more than {MAX_KEYS} keys")
    _check_number_of_signatures(document)
    # "Servers MUST use the lesser of this field and 7 days into the future"
    valid_until_ts = min(valid_until_ts, now_ts + LONGEST_VALIDITY_MS)
    keys: dict[str, VerifyKey] = {}
    for key_id, entry in old.items():
        if key_id.startswith(f"{ALGORITHM}:"):
            keys[key_id] = VerifyKey(_key(entry), _moment(entry, "expired_ts"), is_old=True)
    signers = 0
    for key_id, entry in current.items():
        if key_id.startswith(f"{ALGORITHM}:"):
            key = keys[key_id] = VerifyKey(_key(entry), valid_until_ts)
            verify_json(document, server_name, key_id, key.key)
            signers += 1
    if not signers:
        raise BadJson("the server has no current ed25519 key")
    return ServerKeysResponse(server_name, keys, valid_until_ts, document)


def check_notary(document: JsonObject, notary: ServerName, keys: Mapping[str, bytes]) -> None:
    """Check that a notary has signed a response with one of its `keys`.

    Errors: InvalidSignature if not; BadJson if there is no canonical JSON of it.
    """
    signatures = document.get("signatures")
    own = signatures.get(notary) if isinstance(signatures, dict) else None
    for key_id, key in keys.items():
        if isinstance(own, dict) and key_id in own:
            verify_json(document, notary, key_id, key)
            return
    raise InvalidSignature(f"{notary} has not signed with a key that is known")


def server_of_response(document: JsonObject) -> ServerName:
    """Whose keys a response claims to hold. Errors: BadJson."""
    name = document.get("server_name")
    if not isinstance(name, str):
        raise BadJson("server_name must be text")
    try:
        return parse_server_name(name)
    except InvalidParam:
        raise BadJson("server_name is not a server name") from None


def publish(
    server_name: ServerName, key: SigningKey, old: Mapping[str, VerifyKey], *, valid_until_ts: int
) -> JsonObject:
    """The response of `/_matrix/key/v2/server` for a server of this key, signed."""
    document: JsonObject = {
        "server_name": server_name,
        "verify_keys": {key.key_id: {"key": encode_base64(key.verify_key)}},
        "old_verify_keys": {
            key_id: {"key": encode_base64(each.key), "expired_ts": each.valid_until_ts}
            for key_id, each in old.items()
        },
        "valid_until_ts": valid_until_ts,
    }
    return sign_json(document, server_name, key)


def _keys(value: JsonValue, name: str) -> dict[str, JsonObject]:
    """The entries of `verify_keys` or `old_verify_keys`, whose identifiers are well-formed."""
    if not isinstance(value, dict):
        raise BadJson(f"{name} must be an object")
    if len(value) > MAX_KEYS:
        raise BadJson(f"the server has more than {MAX_KEYS} keys")
    entries: dict[str, JsonObject] = {}
    for key_id, entry in value.items():
        if not is_key_id(key_id) or not isinstance(entry, dict):
            raise BadJson(f"{name} has a malformed entry")
        entries[key_id] = entry
    return entries


def _key(entry: JsonObject) -> bytes:
    text = entry.get("key")
    try:
        key = decode_base64(text) if isinstance(text, str) and len(text) <= 64 else b""
    except ValueError:
        key = b""
    if len(key) != 32:
        raise BadJson("a key must be 32 bytes in Base64")
    return key


def _moment(holder: JsonObject, name: str) -> int:
    value = holder.get(name)
    if type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER:
        raise BadJson(f"{name} must be a time in milliseconds")
    return value


def _check_number_of_signatures(document: JsonObject) -> None:
    signatures = document.get("signatures")
    if not isinstance(signatures, dict) or not all(isinstance(each, dict) for each in signatures.values()):
        raise BadJson("signatures must be an object of objects")
    if sum(len(each) for each in signatures.values() if isinstance(each, dict)) > MAX_SIGNATURES:
        raise BadJson(f"there are more than {MAX_SIGNATURES} signatures")
