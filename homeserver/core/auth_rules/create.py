"""Rules for create events. Spec: room versions, "Authorisation rules", rule 1."""

from homeserver.core.auth_rules.not_allowed import NotAllowed
from homeserver.core.errors import InvalidParam
from homeserver.core.event import Event
from homeserver.core.identifiers import parse_user_id, server_of
from homeserver.core.json import JsonValue
from homeserver.core.room_versions import ROOM_VERSIONS


def check_create(event: Event) -> None:
    """Whether the event may be a room's create event; no state matters to it.

    Errors: NotAllowed.
    """
    version = event.room_version
    content = event.content
    # A create event has no prev_events.
    if event.prev_events:
        raise NotAllowed("A create event has no prev_events")
    if version.room_id_is_create_hash:
        # A create event has no room_id, since the room ID is made from it.
        if "room_id" in event.pdu:
            raise NotAllowed("A create event has no room_id")
    # The room ID names the sender's server.
    elif server_of(event.room_id) != server_of(event.sender):
        raise NotAllowed("The room ID of a create event names the server of its sender")
    # The room version, if stated, is a recognised one.
    if "room_version" in content and not _is_recognised(content["room_version"]):
        raise NotAllowed("The room version of a create event is a recognised one")
    # Until the creator is implied by the sender, a create event names its creator.
    if not version.implicit_room_creator and "creator" not in content:
        raise NotAllowed("A create event names its creator")
    # Where there can be additional creators, they are a list of user IDs.
    if (
        version.privileged_creators
        and "additional_creators" in content
        and not _are_user_ids(content["additional_creators"])
    ):
        raise NotAllowed("The additional creators of a create event are a list of user IDs")
    # Otherwise, allow.


def _is_recognised(room_version: JsonValue) -> bool:
    return isinstance(room_version, str) and room_version in ROOM_VERSIONS


def _are_user_ids(value: JsonValue) -> bool:
    return isinstance(value, list) and all(is_user_id(item) for item in value)


def is_user_id(value: JsonValue) -> bool:
    """Whether the value passes for a `sender`."""
    if not isinstance(value, str):
        return False
    try:
        parse_user_id(value)
    except InvalidParam:
        return False
    return True
