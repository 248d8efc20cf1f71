"""The format of events: the check of what others send, and the building of our own.

Spec: the page of each room version, "Event format"; client-server API, "Size limits".
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from homeserver.core.errors import BadJson, InvalidParam, TooLarge
from homeserver.core.event import Event
from homeserver.core.hashes import encode_base64, event_id_from_hash
from homeserver.core.identifiers import (
    MAX_IDENTIFIER_BYTES,
    EventID,
    RoomID,
    UserID,
    parse_event_id,
    parse_room_id,
    parse_user_id,
)
from homeserver.core.json import (
    MAX_SAFE_INTEGER,
    JsonObject,
    JsonValue,
    canonical,
    canonical_without_floats,
    check_canonical,
)
from homeserver.core.redaction import redact
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.signing import SigningKey
from homeserver.core.sticky_events import KEY as STICKY
from homeserver.core.sticky_events import sticky_object

MAX_EVENT_BYTES: Final = 65_536
"""The size limit of an event's canonical JSON, hashes and signatures included."""

MAX_PREV_EVENTS: Final = 20
MAX_AUTH_EVENTS: Final = 10

_MAX_INT64: Final = 2**63 - 1

_HASH_ROOM_ID = re.compile(r"![A-Za-z0-9_-]{43}")

# What nearly every event ID looks like; anything else takes the thorough path.
_COMMON_EVENT_ID = re.compile(r"\$[\x21-\x39\x3b-\x7e]{1,254}")


def max_depth(room_version: RoomVersion) -> int:
    """The largest `depth` that events of the room version may have. A deeper event stays at it."""
    return MAX_SAFE_INTEGER if room_version.strict_canonical_json else _MAX_INT64


def check_event_format(pdu: JsonObject, room_version: RoomVersion) -> bytes:
    """Check that a PDU from elsewhere is an event of its room version.

    Gives its canonical JSON, as it is stored. `unsigned` is neither checked nor counted nor given: it is no
    part of what the servers of a room share.

    Errors: BadJson if a key is missing or of the wrong shape, or a number is not canonical where that is
    enforced; TooLarge if the event or one of its keys is.
    Spec: server-server API, "Checks performed on receipt of a PDU".
    """
    if "unsigned" in pdu:
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    event_type = _string(pdu, "type")
    _check_short(event_type, "type")
    if "state_key" in pdu:
        _check_short(_string(pdu, "state_key"), "state_key")
    if not isinstance(pdu.get("content"), dict):
        raise BadJson("content must be an object")
    _check_identifiers(pdu, event_type, room_version)
    _check_integer(pdu, "origin_server_ts", -_MAX_INT64, _MAX_INT64)
    _check_integer(pdu, "depth", 0, max_depth(room_version))
    _check_references(pdu, "prev_events", MAX_PREV_EVENTS, room_version)
    _check_references(pdu, "auth_events", MAX_AUTH_EVENTS, room_version)
    _check_hashes(pdu.get("hashes"))
    _check_signatures(pdu.get("signatures"))
    data = _encode(pdu, room_version)
    if len(data) > MAX_EVENT_BYTES:
        raise TooLarge(f"the event is larger than {MAX_EVENT_BYTES} bytes")
    return data


def build_event(
    *,
    room_version: RoomVersion,
    room_id: RoomID | None,
    sender: UserID,
    type: str,
    state_key: str | None,
    content: JsonObject,
    origin_server_ts: int,
    depth: int,
    prev_events: Sequence[EventID],
    auth_events: Sequence[EventID],
    redacts: EventID | None,
    server_name: str,
    key: SigningKey,
    event_id: EventID | None = None,
    reference_hashes: Mapping[EventID, str] | None = None,
    with_origin: bool = False,
    sticky_duration_ms: int | None = None,
) -> tuple[Event, bytes]:
    """Make, hash and sign an event of our own; gives it with its canonical JSON, as it is stored.

    `room_id` is None for a create event whose hash will be the room ID. `depth` beyond the limit becomes the
    limit. `redacts` is put where the room version has it. Room versions 1 and 2 need an `event_id`, and of
    each event that is referred to the reference hash in unpadded Base64. `content` becomes part of the event.
    `with_origin` is for events that are handed to another server, whose endpoints want the key `origin`. With
    `sticky_duration_ms` it is a sticky event.

    Errors: BadJson if the content is not canonical where that is enforced; TooLarge as in
    `check_event_format`; ValueError if the arguments do not suit the room version.
    """
    _check_short(type, "type")
    if state_key is not None:
        _check_short(state_key, "state_key")
    if redacts is not None and room_version.redacts_in_content:
        content = {**content, "redacts": redacts}
    if room_id is None and not (room_version.room_id_is_create_hash and type == "m.room.create"):
        raise ValueError("an event has a room ID unless its hash becomes the room ID")
    pdu: JsonObject = {
        "auth_events": _refer_to(auth_events, room_version, reference_hashes),
        "content": content,
        "depth": min(depth, max_depth(room_version)),
        "origin_server_ts": origin_server_ts,
        "prev_events": _refer_to(prev_events, room_version, reference_hashes),
        "sender": sender,
        "type": type,
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if state_key is not None:
        pdu["state_key"] = state_key
    if redacts is not None and not room_version.redacts_in_content:
        pdu["redacts"] = redacts
    if event_id is not None:
        pdu["event_id"] = event_id
    if with_origin:
        pdu["origin"] = server_name
    if sticky_duration_ms is not None:
        pdu[STICKY] = sticky_object(sticky_duration_ms)
    event_id, data = _seal(pdu, room_version, server_name, key)
    return Event.from_pdu(pdu, room_version, event_id=event_id), data


def _seal(
    pdu: JsonObject, room_version: RoomVersion, server_name: str, key: SigningKey
) -> tuple[EventID, bytes]:
    """Put hashes and signature on a new event; gives its ID and its canonical JSON.

    The signature and the reference hash cover the same bytes: the redacted event without signatures.
    """
    issued = pdu.get("event_id")
    if isinstance(issued, str) != (room_version.event_id_format is EventIdFormat.SERVER_ISSUED):
        raise ValueError("an event ID is given in room versions 1 and 2, and only there")
    pdu["hashes"] = {"sha256": encode_base64(hashlib.sha256(_encode(pdu, room_version)).digest())}
    # What has been written once needs no second look at its numbers.
    write = canonical_without_floats if room_version.strict_canonical_json else canonical
    essential = write(redact(pdu, room_version))
    pdu["signatures"] = {server_name: {key.key_id: key.sign(essential)}}
    data = write(pdu)
    if len(data) > MAX_EVENT_BYTES:
        raise TooLarge(f"the event is larger than {MAX_EVENT_BYTES} bytes")
    if isinstance(issued, str):
        return EventID(issued), data
    return event_id_from_hash(hashlib.sha256(essential).digest(), room_version), data


def _refer_to(
    event_ids: Sequence[EventID], room_version: RoomVersion, reference_hashes: Mapping[EventID, str] | None
) -> list[JsonValue]:
    """Events as `prev_events` and `auth_events` name them."""
    if not room_version.event_references_with_hashes:
        return list(event_ids)
    if reference_hashes is None or not reference_hashes.keys() >= set(event_ids):
        raise ValueError("room versions 1 and 2 refer to events by ID and hash")
    return [[event_id, {"sha256": reference_hashes[event_id]}] for event_id in event_ids]


def _encode(pdu: JsonObject, room_version: RoomVersion) -> bytes:
    """The canonical JSON of an event, checked as far as the room version enforces it."""
    if not room_version.strict_canonical_json:
        return canonical(pdu)
    check_canonical(pdu)
    return canonical_without_floats(pdu)


def _string(pdu: JsonObject, key: str) -> str:
    """The string that must be under `key`."""
    value = pdu.get(key)
    if not isinstance(value, str):
        raise BadJson(f"{key} must be a string")
    return value


def _check_short(text: str, key: str) -> None:
    """Check `type` or `state_key`: at most 255 bytes, and no NUL, which not every database can keep."""
    if len(text) * 4 > MAX_IDENTIFIER_BYTES and len(text.encode(errors="replace")) > MAX_IDENTIFIER_BYTES:
        raise TooLarge(f"{key} is longer than {MAX_IDENTIFIER_BYTES} bytes")
    if "\0" in text:
        raise BadJson(f"{key} has a NUL character")


def _check_integer(pdu: JsonObject, key: str, low: int, high: int) -> None:
    """Check that there is an integer from `low` to `high` under `key`; true and false are none."""
    value = pdu.get(key)
    if type(value) is not int or not low <= value <= high:
        raise BadJson(f"{key} must be an integer from {low} to {high}")


def _check_identifiers(pdu: JsonObject, event_type: str, room_version: RoomVersion) -> None:
    """Check `sender`, `room_id`, and, where the room version has them, `event_id` and `redacts`."""
    try:
        parse_user_id(_string(pdu, "sender"))
        if not room_version.room_id_is_create_hash:
            room_id = parse_room_id(_string(pdu, "room_id"))
            if ":" not in room_id:
                raise BadJson("room_id must have a domain in this room version")
        elif event_type != "m.room.create":
            if not _HASH_ROOM_ID.fullmatch(_string(pdu, "room_id")):
                raise BadJson("room_id must be the hash of a create event in this room version")
        elif "room_id" in pdu:
            raise BadJson("a create event has no room_id in this room version")
        if room_version.event_id_format is EventIdFormat.SERVER_ISSUED:
            event_id = parse_event_id(_string(pdu, "event_id"))
            if ":" not in event_id:
                raise BadJson("event_id must have a domain in this room version")
    except InvalidParam as error:
        raise BadJson(error.message) from None
    if not room_version.redacts_in_content and "redacts" in pdu:
        _string(pdu, "redacts")


def _check_references(pdu: JsonObject, key: str, limit: int, room_version: RoomVersion) -> None:
    """Check `prev_events` or `auth_events`: event IDs, or pairs of an event ID and an object of hashes."""
    references = pdu.get(key)
    if not isinstance(references, list):
        raise BadJson(f"{key} must be an array")
    if len(references) > limit:
        raise BadJson(f"{key} has more than {limit} events")
    for reference in references:
        event_id = reference
        if room_version.event_references_with_hashes:
            if not isinstance(reference, list) or len(reference) != 2 or not isinstance(reference[1], dict):
                raise BadJson(f"{key} must hold pairs of an event ID and its hashes")
            event_id = reference[0]
        if not isinstance(event_id, str):
            raise BadJson(f"{key} must hold event IDs")
        if not _COMMON_EVENT_ID.fullmatch(event_id):
            _check_event_id(event_id, key)


def _check_event_id(event_id: str, key: str) -> None:
    """Check an event ID under `key` by its parser."""
    try:
        parse_event_id(event_id)
    except InvalidParam as error:
        raise BadJson(f"{key}: {error.message}") from None


def _check_hashes(hashes: JsonValue) -> None:
    """Check that `hashes` is an object with a string `sha256`."""
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        raise BadJson("hashes must have a string sha256")


def _check_signatures(signatures: JsonValue) -> None:
    """Check that `signatures` has strings by server name and key identifier."""
    if not isinstance(signatures, dict):
        raise BadJson("signatures must be an object")
    for by_key in signatures.values():
        if not isinstance(by_key, dict) or not all(isinstance(item, str) for item in by_key.values()):
            raise BadJson("signatures must hold strings by server name and key identifier")
