"""Signatures of JSON objects and of events.

Spec: appendices, "Signing JSON"; server-server API, "Signing Events".
"""

import re
from typing import Final, Self

import attrs
import nacl.signing
from nacl.exceptions import BadSignatureError

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import BadJson
from homeserver.core.hashes import content_hash, decode_base64, encode_base64
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.json import JsonObject, JsonValue, canonical
from homeserver.core.redaction import redact
from homeserver.core.room_versions import EventIdFormat, RoomVersion

ALGORITHM: Final = "ed25519"

_NOT_SIGNED = frozenset({"signatures", "unsigned"})

# Versions of homeservers' keys: server-server API, "Publishing Keys".
_KEY_VERSION = re.compile(r"[a-zA-Z0-9_]+")


@attrs.frozen
class SigningKey:
    """A private ed25519 key of a server, and its identifier, such as `ed25519:a_abcd`."""

    key_id: str
    key: nacl.signing.SigningKey = attrs.field(repr=False)

    @classmethod
    def generate(cls, version: str, *, seed: bytes) -> Self:
        """The key `ed25519:<version>` that grows from `seed`: 32 bytes of the caller's best randomness.

        Errors: ValueError if the version has other characters than letters, digits and `_`, or the seed is
        not of that length.
        """
        if not _KEY_VERSION.fullmatch(version):
            raise ValueError("a key's version is made of letters, digits and _")
        if len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        return cls(f"{ALGORITHM}:{version}", nacl.signing.SigningKey(seed))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a key from its line in a key file: `ed25519 <version> <unpadded Base64 of the seed>`.

        Errors: ValueError, which does not repeat the line.
        """
        match line.split():
            case [algorithm, version, seed] if algorithm == ALGORITHM:
                pass
            case _:
                raise ValueError("a line of a key file is: ed25519 <version> <seed in Base64>")
        try:
            decoded = decode_base64(seed)
        except ValueError:
            raise ValueError("the seed in the key file is not Base64") from None
        return cls.generate(version, seed=decoded)

    def to_file_line(self) -> str:
        """The key as a line of a key file, without line end; it holds the secret."""
        algorithm, _, version = self.key_id.partition(":")
        return f"{algorithm} {version} {encode_base64(bytes(self.key))}"

    @property
    def verify_key(self) -> bytes:
        """The public key, 32 bytes."""
        return bytes(self.key.verify_key)

    def sign(self, message: bytes) -> str:
        """The signature of `message` in unpadded Base64."""
        return encode_base64(self.key.sign(message).signature)


def signed_bytes(value: JsonObject) -> bytes:
    """What a signature of an object covers: the canonical JSON of all but `signatures` and `unsigned`.

    Errors: BadJson if there is no canonical JSON of it.
    """
    return canonical({key: item for key, item in value.items() if key not in _NOT_SIGNED})


def sign_json(value: JsonObject, server_name: str, key: SigningKey) -> JsonObject:
    """A copy of the object with one more signature, by `server_name`; other signatures stay.

    Errors: BadJson if there is no canonical JSON of it. Spec: appendices, "Signing Details".
    """
    signature = key.sign(signed_bytes(value))
    return {**value, "signatures": _with_signature(value, server_name, key.key_id, signature)}


def sign_event(pdu: JsonObject, room_version: RoomVersion, server_name: str, key: SigningKey) -> JsonObject:
    """A copy of an event with its content hash and a signature by `server_name`.

    Errors: BadJson if there is no canonical JSON of it.
    Spec: server-server API, "Adding hashes and signatures to outgoing events".
    """
    return add_signature({**pdu, "hashes": {"sha256": content_hash(pdu)}}, room_version, server_name, key)


def add_signature(
    pdu: JsonObject, room_version: RoomVersion, server_name: str, key: SigningKey
) -> JsonObject:
    """A copy of an event, which another server has hashed and signed, with a signature by `server_name` too.

    Errors: BadJson if there is no canonical JSON of it.
    """
    signature = key.sign(signed_bytes(redact(pdu, room_version)))
    return {**pdu, "signatures": _with_signature(pdu, server_name, key.key_id, signature)}


def key_ids_of(value: JsonObject, server_name: str) -> list[str]:
    """The identifiers of the ed25519 keys with which `server_name` claims to have signed; empty if with none.

    Spec: appendices, "Checking for a Signature", steps 1 and 2.
    """
    return [key_id for key_id in _signatures_by(value, server_name) if key_id.startswith(f"{ALGORITHM}:")]


def verify_json(value: JsonObject, server_name: str, key_id: str, verify_key: bytes) -> None:
    """Check the signature that `server_name` made with the key `key_id`, whose public half is `verify_key`.

    Errors: InvalidSignature if it is missing, malformed or wrong; BadJson if there is no canonical JSON of
    the object. Spec: appendices, "Checking for a Signature".
    """
    _verify(_signatures_by(value, server_name).get(key_id), signed_bytes(value), verify_key)


def verify_event(
    pdu: JsonObject, room_version: RoomVersion, server_name: str, key_id: str, verify_key: bytes
) -> None:
    """Check a signature of an event; one that has been redacted passes like the whole one.

    Errors: InvalidSignature, BadJson, as `verify_json`.
    Spec: server-server API, "Validating hashes and signatures on received events".
    """
    verify_json(redact(pdu, room_version), server_name, key_id, verify_key)


def required_signers(pdu: JsonObject, room_version: RoomVersion) -> frozenset[ServerName]:
    """The servers that must have signed an event for it to be received at all.

    That is the sender's; in room versions 1 and 2 also the one in the event ID. An invitation by third-party
    identifier need not be signed by the sender's: the auth rules judge it by the third party's signature.

    Errors: BadJson if `sender` or `event_id` name no server.
    Spec: server-server API, "Validating hashes and signatures on received events".
    """
    signers = set()
    if not _is_third_party_invite(pdu):
        signers.add(_server_in(pdu, "sender"))
    if room_version.event_id_format is EventIdFormat.SERVER_ISSUED:
        signers.add(_server_in(pdu, "event_id"))
    return frozenset(signers)


def authorising_server(pdu: JsonObject, room_version: RoomVersion) -> ServerName | None:
    """The server whose signature, beside the required ones, authorises a restricted join; None if none.

    Without that signature the event is rejected. Errors: BadJson if the user who authorises is not a user ID.
    Spec: room version 8, "Authorisation rules", rule 4.2.
    """
    content = pdu.get("content")
    if (
        not room_version.restricted_joins
        or pdu.get("type") != "m.room.member"
        or not isinstance(content, dict)
    ):
        return None
    if "join_authorised_via_users_server" not in content:
        return None
    return _server_in(content, "join_authorised_via_users_server")


def _is_third_party_invite(pdu: JsonObject) -> bool:
    """Whether the event is an invitation that follows from an invitation by third-party identifier."""
    content = pdu.get("content")
    return (
        pdu.get("type") == "m.room.member"
        and isinstance(content, dict)
        and content.get("membership") == "invite"
        and "third_party_invite" in content
    )


def _server_in(holder: JsonObject, key: str) -> ServerName:
    """The server name in the identifier under `key`."""
    identifier = holder.get(key)
    server_name = server_of(UserID(identifier)) if isinstance(identifier, str) else None
    if server_name is None:
        raise BadJson(f"{key} names no server")
    return server_name


def _signatures_by(value: JsonObject, server_name: str) -> JsonObject:
    """The signatures of one server by key identifier; empty if there are none."""
    signatures = value.get("signatures")
    own = signatures.get(server_name) if isinstance(signatures, dict) else None
    return own if isinstance(own, dict) else {}


def _with_signature(value: JsonObject, server_name: str, key_id: str, signature: str) -> JsonObject:
    """The object's `signatures` with one more."""
    signatures = value.get("signatures")
    others = signatures if isinstance(signatures, dict) else {}
    return {**others, server_name: {**_signatures_by(value, server_name), key_id: signature}}


def _verify(signature: JsonValue, message: bytes, verify_key: bytes) -> None:
    """Check one signature as it stands in an object."""
    if not isinstance(signature, str):
        raise InvalidSignature("the signature is missing")
    try:
        nacl.signing.VerifyKey(verify_key).verify(message, decode_base64(signature))
    except BadSignatureError:
        raise InvalidSignature("the signature does not match") from None
    except ValueError:
        # Not Base64, or a signature or a key of the wrong length.
        raise InvalidSignature("the signature or its key is malformed") from None
