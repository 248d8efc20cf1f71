"""Templates that other servers give for membership events.

Nothing of a template is signed but its place in the room's graph: a hostile one would otherwise have this server sign
whatever it likes (CVE-2025-68667). Spec: server-server API, "Joining Rooms".
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.event import Event
from homeserver.core.event_format import check_event_format
from homeserver.core.identifiers import EventID, RoomID, UserID, parse_user_id
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.room_versions import EventIdFormat, RoomVersion, get_room_version
from homeserver.rooms.membership_events import MEMBER, Place, given_hashes

UNSTATED_VERSION: Final = "1"
"""Of an answer that says none: "The version of the room where the server is trying to join"."""


class Expected(msgspec.Struct, frozen=True):
    """What a template must be for."""

    room_id: RoomID
    user_id: UserID
    membership: str


class Template(msgspec.Struct, frozen=True):
    """Where the event is to stand, and who vouches for it, if it is a join that needs that."""

    place: Place
    authoriser: UserID | None


def read_template(answer: JsonObject, expected: Expected) -> Template:
    """The usable part of the answer to a `make_...` request.

    Errors: UnsupportedRoomVersion; InvalidParam, BadJson, TooLarge if the answer is malformed, or about
    something else.
    """
    stated, event = answer.get("room_version", UNSTATED_VERSION), answer.get("event")
    if not isinstance(stated, str) or not isinstance(event, dict):
        raise InvalidParam("the answer has no template")
    version = get_room_version(stated)
    content = event.get("content")
    if not isinstance(content, dict) or content.get("membership") != expected.membership:
        raise InvalidParam(f"the template is not for the membership {expected.membership}")
    fields = {"type": MEMBER, "room_id": expected.room_id}
    fields |= {"sender": expected.user_id, "state_key": expected.user_id}
    for key, value in fields.items():
        if event.get(key) != value:
            raise InvalidParam(f"the template has another {key} than was asked for")
    return Template(_place(event, fields, version), _authoriser(content, expected, version))


def _place(event: JsonObject, fields: Mapping[str, JsonValue], version: RoomVersion) -> Place:
    """Errors: BadJson, TooLarge, InvalidParam."""
    pdu: JsonObject = {
        **fields,
        "content": {},
        "origin_server_ts": 0,
        "hashes": {"sha256": ""},
        "signatures": {},
        "depth": event.get("depth"),
        "prev_events": event.get("prev_events"),
        "auth_events": event.get("auth_events"),
    }
    event_id = EventID("$template:template")
    if version.event_id_format is EventIdFormat.SERVER_ISSUED:
        pdu["event_id"] = event_id
    check_event_format(pdu, version)
    read = Event.from_pdu(pdu, version, event_id=event_id)
    if not read.prev_events or not read.auth_events:
        raise InvalidParam("the template stands nowhere in the room")
    hashes = None
    if version.event_references_with_hashes:
        hashes = given_hashes(event["prev_events"]) | given_hashes(event["auth_events"])
        if not hashes.keys() >= {*read.prev_events, *read.auth_events}:
            raise InvalidParam("the template names an event without its hash")
    return Place(read.room_id, version, read.prev_events, read.auth_events, read.depth, hashes)


def _authoriser(content: JsonObject, expected: Expected, version: RoomVersion) -> UserID | None:
    """Errors: InvalidParam."""
    stated = content.get("join_authorised_via_users_server")
    if stated is None or expected.membership != "join" or not version.restricted_joins:
        return None
    if not isinstance(stated, str):
        raise InvalidParam("the template names nobody who vouches for the join")
    return parse_user_id(stated)
