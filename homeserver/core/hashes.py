"""Hashes of events. Spec: server-server API, "Signing Events"."""

import binascii
import hashlib

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import EventID
from homeserver.core.json import JsonObject, canonical
from homeserver.core.redaction import redact
from homeserver.core.room_versions import EventIdFormat, RoomVersion

_NOT_IN_CONTENT_HASH = frozenset({"unsigned", "signatures", "hashes"})


def encode_base64(data: bytes) -> str:
    """Unpadded Base64. Spec: appendices, "Unpadded Base64"."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_base64_url_safe(data: bytes) -> str:
    """URL-safe unpadded Base64. Spec: appendices, "URL-safe unpadded Base64"."""
    return encode_base64(data).translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")


def decode_base64(text: str) -> bytes:
    """The bytes of a Base64 text in the standard alphabet, padded or not.

    Errors: ValueError for other characters, misplaced padding or an impossible length.
    """
    bare = text.rstrip("=")
    return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)


def content_hash(pdu: JsonObject) -> str:
    """SHA-256 of the event without `unsigned`, `signatures` and `hashes`: what `hashes.sha256` should be.

    In unpadded Base64. Errors: BadJson if the event cannot be written as canonical JSON.
    Spec: server-server API, "Calculating the content hash for an event".
    """
    hashed = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    return encode_base64(hashlib.sha256(canonical(hashed)).digest())


def has_content_hash(pdu: JsonObject) -> bool:
    """Whether `hashes.sha256` of the event is its content hash. If not, only the redacted event may be used.

    Errors: BadJson as `content_hash`.
    Spec: server-server API, "Validating hashes and signatures on received events".
    """
    hashes = pdu.get("hashes")
    claimed = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(claimed, str):
        return False
    # The hash is compared as bytes: padded Base64 means the same.
    try:
        return decode_base64(claimed) == decode_base64(content_hash(pdu))
    except ValueError:
        return False


def reference_hash(pdu: JsonObject, room_version: RoomVersion) -> bytes:
    """SHA-256 of the redacted event without `signatures` and `unsigned`: 32 bytes.

    Errors: BadJson if the event cannot be written as canonical JSON.
    Spec: server-server API, "Calculating the reference hash for an event".
    """
    hashed = redact(pdu, room_version)
    hashed.pop("signatures", None)
    return hashlib.sha256(canonical(hashed)).digest()


def event_id_of(pdu: JsonObject, room_version: RoomVersion) -> EventID:
    """The event's ID: computed in room versions 3 and later, read from the event in 1 and 2.

    Errors: BadJson if the event has no `event_id` where it must, or cannot be written as canonical JSON.
    Spec: room versions 1, 3 and 4, "Event IDs".
    """
    if room_version.event_id_format is EventIdFormat.SERVER_ISSUED:
        event_id = pdu.get("event_id")
        if not isinstance(event_id, str):
            raise BadJson("the event has no event_id")
        return EventID(event_id)
    return event_id_from_hash(reference_hash(pdu, room_version), room_version)


def event_id_from_hash(digest: bytes, room_version: RoomVersion) -> EventID:
    """The event ID that a reference hash stands for, in room versions 3 and later."""
    if room_version.event_id_format is EventIdFormat.BASE64:
        return EventID("$" + encode_base64(digest))
    return EventID("$" + encode_base64_url_safe(digest))
