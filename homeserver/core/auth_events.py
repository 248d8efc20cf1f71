"""Which events of a room's state an event must cite: those that permit its sender to send it.

Spec: server-server API, "Auth events selection".
"""

from typing import Final

from homeserver.core.event import StateKey
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion

CREATE: Final[StateKey] = ("m.room.create", "")
POWER_LEVELS: Final[StateKey] = ("m.room.power_levels", "")
JOIN_RULES: Final[StateKey] = ("m.room.join_rules", "")


def member_of(user_id: str) -> StateKey:
    """The entry of the state that holds the user's membership."""
    return ("m.room.member", user_id)


def select_auth_event_keys(
    type: str, sender: str, state_key: str | None, content: JsonObject, room_version: RoomVersion
) -> list[StateKey]:
    """The entries of the state whose events belong into `auth_events`, as far as the room has them.

    Without duplicates, in an order that depends on the arguments alone.
    """
    # The create event stands alone.
    if type == "m.room.create":
        return []
    # Where the room ID is the create event's hash, that citation is implied; else the create event is cited.
    keys = [] if room_version.room_id_is_create_hash else [CREATE]
    # The power levels, and the sender's membership.
    keys += (POWER_LEVELS, ("m.room.member", sender))
    if type == "m.room.member" and state_key is not None:
        keys += (key for key in _membership_keys(sender, state_key, content, room_version) if key not in keys)
    return keys


def _membership_keys(
    sender: str, target: str, content: JsonObject, room_version: RoomVersion
) -> list[StateKey]:
    """What a membership event needs on top of what every event needs."""
    membership = content.get("membership")
    keys = []
    # The membership of the user that it is about.
    if target != sender:
        keys.append(member_of(target))
    # Joins, invites and knocks: the join rules.
    if membership in ("join", "invite", "knock"):
        keys.append(JOIN_RULES)
    # An invite that redeems a third-party invite: that third-party invite.
    if membership == "invite" and (token := third_party_token(content)) is not None:
        keys.append(("m.room.third_party_invite", token))
    # A join that a member of the room vouches for: that member's membership.
    if membership == "join" and room_version.restricted_joins:
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and authoriser not in (sender, target):
            keys.append(member_of(authoriser))
    return keys


def third_party_token(content: JsonObject) -> str | None:
    """`third_party_invite.signed.token` of a membership event's content; None if there is no such string."""
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None
