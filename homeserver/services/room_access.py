"""Who may read the state of a room, and as of when.

Transaction functions, for everything that shows a room's state as such. Spec: client-server API, `rooms.yaml`
and "Room previews".
"""

import attrs

from homeserver.core.errors import Forbidden
from homeserver.core.event import StateKey
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, memberships, rooms, state
from homeserver.storage.memberships import RoomOfUser

_VISIBILITY: StateKey = ("m.room.history_visibility", "")


@attrs.frozen(slots=True)
class ReadableState:
    """A state that a user may read: the room's current one, or the one when the user left."""

    room_nid: int
    version: RoomVersion
    root: int


def readable_state(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> ReadableState:
    """The state that the user may read.

    Errors: Forbidden for who has never been in the room or has forgotten it, unless everybody may read it;
    also if there is no such room, so that nobody learns which rooms there are.
    """
    mine = memberships.room_of(tx, user_id, room_id)
    if mine is not None and mine.membership == "join":
        return ReadableState(mine.room_nid, get_room_version(mine.version), mine.state_root)
    if mine is not None and mine.was_joined and not mine.forgotten:
        return _state_at_leaving(tx, user_id, mine)
    room = rooms.of(tx, room_id)
    if room is not None:
        version = get_room_version(room.version)
        if is_world_readable(tx, room.state_root, version):
            return ReadableState(room.room_nid, version, room.state_root)
    raise Forbidden("You are not in this room, and have not been")


def check_may_look_in(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> None:
    """Whether the user is joined to the room, or everybody may read it. Errors: Forbidden, as above."""
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


def _state_at_leaving(tx: ReadTransaction, user_id: UserID, mine: RoomOfUser) -> ReadableState:
    position = memberships.left_at(tx, mine.room_nid, user_id)
    root = state.root_at(tx, mine.room_nid, mine.position if position is None else position)
    return ReadableState(mine.room_nid, get_room_version(mine.version), root)
