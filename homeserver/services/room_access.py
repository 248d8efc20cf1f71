"""What a room's state says about reading it from outside. Transaction functions."""

from homeserver.core.errors import Forbidden
from homeserver.core.event import StateKey
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, memberships, rooms, state

_VISIBILITY: StateKey = ("m.room.history_visibility", "")


def check_may_look_in(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> None:
    """Whether the user is joined to the room, or everybody may read it.

    Errors: Forbidden, in the same words for a room that does not exist.
    """
    mine = memberships.room_of(tx, user_id, room_id)
    if mine is not None and mine.membership == "join":
        return
    room = rooms.of(tx, room_id)
    if room is None or not is_world_readable(tx, room.state_root, get_room_version(room.version)):
        raise Forbidden("You are not in this room")


def is_world_readable(tx: ReadTransaction, root: int, version: RoomVersion) -> bool:
    """Whether everybody may read a room that has this state."""
    return content_at(tx, root, version, _VISIBILITY).get("history_visibility") == "world_readable"


def content_at(tx: ReadTransaction, root: int, version: RoomVersion, key: StateKey) -> JsonObject:
    """The content that a state has for `key`, empty if it has none: for decisions, not for clients."""
    nid = state.get(tx, root, key)
    return {} if nid is None else events.parsed(tx, [nid], version)[nid].content
