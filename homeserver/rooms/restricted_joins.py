"""Joining a room because of being in another. Spec: client-server API, "Restricted rooms"."""

from collections.abc import Iterator

from homeserver.core.auth_events import JOIN_RULES, member_of
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.append import Appender, current_content
from homeserver.rooms.power import levels_in
from homeserver.storage import memberships, rooms


def authoriser_for(tx: ReadTransaction, appender: Appender, user_id: UserID) -> UserID | None:
    """The member who is to vouch for the join of `user_id`; `None` if the room's rules ask for nobody.

    Errors: Forbidden if the user meets no condition, or no user of this server can vouch.
    """
    join_rules = current_content(appender, JOIN_RULES)
    if not _is_restricted(appender, join_rules):
        return None
    # "If the user has an invite to the room then the restrictions will not affect them."
    if current_content(appender, member_of(user_id)).get("membership") in ("invite", "join", "ban"):
        return None
    if not any(_is_joined(tx, room_id, user_id) for room_id in _allowed_rooms(join_rules)):
        raise Forbidden("You are in none of the rooms whose members may join this one")
    found = _authoriser(tx, appender)
    if found is None:
        raise Forbidden("You may join, but no user of this server has the power to let you in")
    return found


def _is_restricted(appender: Appender, join_rules: JsonObject) -> bool:
    rule = join_rules.get("join_rule")
    version = appender.version
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


def _is_joined(tx: ReadTransaction, room_id: str, user_id: UserID) -> bool:
    room_nid = rooms.nid_of(tx, room_id)
    found = None if room_nid is None else memberships.of(tx, room_nid, user_id)
    return found is not None and found.membership == "join"


def _authoriser(tx: ReadTransaction, appender: Appender) -> UserID | None:
    """A joined user of this server who can invite: those with a level of their own first."""
    levels = levels_in(appender)
    stated = [user_id for user_id, level in levels.users.items() if level >= levels.invite]
    room_nid = appender.room.room_nid
    if among := memberships.local_among(tx, room_nid, stated):
        return min(among)
    if not levels.users_default >= levels.invite:
        return None
    # All others have the default; one more than have a level of their own is sure to include one of them.
    some = memberships.some_local(tx, room_nid, most=len(levels.users) + 1)
    return next((user_id for user_id in some if levels.user_level(user_id) >= levels.invite), None)
