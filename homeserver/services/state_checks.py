"""What this server asks of the content of some state events, before the auth rules are asked.

Spec: client-server API, `PUT /rooms/{roomId}/state/{eventType}/{stateKey}`, and the events' own pages.
"""

from collections.abc import Iterator

from homeserver.core.endpoint_errors import BadAlias
from homeserver.core.errors import BadJson, Forbidden, InvalidParam
from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, parse_room_alias
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.server_acl import ServerAcl
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.append import Appender
from homeserver.rooms.current_state import current_content
from homeserver.rooms.draft import Signer
from homeserver.storage import aliases


def check_state_content(
    tx: ReadTransaction, appender: Appender, signer: Signer, type: str, state_key: str, content: JsonObject
) -> None:
    """Check what a client wants to set in a locked room.

    Errors: Forbidden for what has no place there; InvalidParam, BadAlias, BadJson.
    """
    if type == "m.room.create":
        raise Forbidden("A room has one create event, its first")
    if type == "m.room.canonical_alias":
        current = current_content(appender, (type, state_key))
        _check_aliases(tx, appender.room.room_id, content, current)
    elif type == "m.room.server_acl" and state_key == "":
        _check_acl(content, signer.server_name)
    elif type == "m.room.encryption" and not isinstance(content.get("algorithm"), str):
        # Clients would take the room for encrypted, and not know how to send to it.
        raise BadJson("$.algorithm: a string is wanted")


def _check_aliases(tx: ReadTransaction, room_id: RoomID, content: JsonObject, current: JsonObject) -> None:
    """New aliases are well-formed, and lead to this room.

    "Servers do not validate aliases which are being removed or are already present in the state event."
    """
    present = set(_aliases_in(current))
    for alias in dict.fromkeys(_wanted_aliases(content)):
        if alias in present:
            continue
        found = aliases.of(tx, parse_room_alias(alias))
        if found is None or found.room_id != room_id:
            raise BadAlias(f"The alias '{alias}' does not point to this room.")


def _aliases_in(content: JsonObject) -> Iterator[str]:
    """The strings that stand where aliases do."""
    others = content.get("alt_aliases")
    for value in (content.get("alias"), *(others if isinstance(others, list) else ())):
        if isinstance(value, str):
            yield value


def _wanted_aliases(content: JsonObject) -> Iterator[str]:
    """The aliases that a client wants to be there. Errors: InvalidParam for what is none."""
    # "If not present, null, or empty the room should be considered to have no canonical alias."
    alias = content.get("alias")
    if alias:
        yield _string(alias, "alias")
    others = content.get("alt_aliases")
    if others is None:
        return
    if not isinstance(others, list):
        raise InvalidParam("alt_aliases must be a list")
    for other in others:
        yield _string(other, "alt_aliases")


def _string(value: JsonValue, name: str) -> RoomAlias:
    if not isinstance(value, str):
        raise InvalidParam(f"{name}: a room alias is wanted")
    return RoomAlias(value)


def _check_acl(content: JsonObject, server_name: ServerName) -> None:
    """An ACL that shuts out the sender's own server would leave nobody here to take it back."""
    if not ServerAcl.of(content).allows(server_name):
        raise InvalidParam("This access control list would shut out your own server")
