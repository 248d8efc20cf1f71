"""Joining a room because of being in another.

Spec: client-server API, "Restricted rooms"; server-server API, "Restricted rooms".
"""

from collections.abc import Iterator

from homeserver.core.auth_events import JOIN_RULES, member_of
from homeserver.core.endpoint_errors import UnableToAuthoriseJoin, UnableToGrantJoin
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import ServerName, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.current_state import RoomState, current_content
from homeserver.rooms.power import levels_in
from homeserver.storage import memberships, room_servers, rooms


def authoriser_for(
    tx: ReadTransaction, state: RoomState, user_id: UserID, server_name: ServerName
) -> UserID | None:
    """The member, a user of this server, `server_name`, who is to vouch for the join of `user_id`.

    `None` if the room's rules ask for nobody. Errors: Forbidden if the user meets no condition;
    UnableToAuthoriseJoin if this server cannot tell; UnableToGrantJoin if nobody here has the power to vouch.
    """
    if not needs_authoriser(state, user_id):
        return None
    _check_condition(tx, state, user_id, server_name)
    found = _authoriser(tx, state)
    if found is None:
        raise UnableToGrantJoin("You may join, but no user of this server has the power to let you in")
    return found


def needs_authoriser(state: RoomState, user_id: UserID) -> bool:
    """Whether the user's join has to be vouched for."""
    if not _is_restricted(state, current_content(state, JOIN_RULES)):
        return False
    # "If the user has an invite to the room then the restrictions will not affect them."
    return current_content(state, member_of(user_id)).get("membership") not in ("invite", "join", "ban")


def _check_condition(tx: ReadTransaction, state: RoomState, user_id: UserID, server_name: ServerName) -> None:
    is_certain = True
    for room_id in _allowed_rooms(current_content(state, JOIN_RULES)):
        room_nid = rooms.nid_of(tx, room_id)
        if room_nid is None or not room_servers.joined(tx, room_nid, server_name):
            # A room of which this server knows nothing has none of its users, but perhaps one of another.
            is_certain = is_certain and server_of(user_id) == server_name
            continue
        found = memberships.of(tx, room_nid, user_id)
        if found is not None and found.membership == "join":
            return
    if not is_certain:
        raise UnableToAuthoriseJoin("This server does not know all rooms whose members may join this one")
    raise Forbidden("You are in none of the rooms whose members may join this one")


def _is_restricted(state: RoomState, join_rules: JsonObject) -> bool:
    rule = join_rules.get("join_rule")
    version = state.version
    return (rule == "restricted" and version.restricted_joins) or (
        rule == "knock_restricted" and version.knock_restricted
    )


def _allowed_rooms(join_rules: JsonObject) -> Iterator[str]:
    """The rooms of the conditions that this server understands; others count as not met."""
    allow = join_rules.get("allow")
    for condition in allow if isinstance(allow, list) else ():
        if isinstance(condition, dict) and condition.get("type") == "m.room_membership":
            room_id = condition.get("room_id")
            if isinstance(room_id, str):
                yield room_id


def _authoriser(tx: ReadTransaction, state: RoomState) -> UserID | None:
    """A joined user of this server who can invite: those with a level of their own first."""
    levels = levels_in(state)
    stated = [user_id for user_id, level in levels.users.items() if level >= levels.invite]
    room_nid = state.room.room_nid
    if among := memberships.local_among(tx, room_nid, stated):
        return min(among)
    if not levels.users_default >= levels.invite:
        return None
    # All others have the default; one more than have a level of their own is sure to include one of them.
    some = memberships.some_local(tx, room_nid, most=len(levels.users) + 1)
    return next((user_id for user_id in some if levels.user_level(user_id) >= levels.invite), None)
