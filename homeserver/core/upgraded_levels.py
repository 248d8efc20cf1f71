"""The power levels of a room that replaces another, and of the one that it replaces.

Spec: client-server API, "Room Upgrades"; room version 12 for creators.
"""

import math
from collections.abc import Collection, Mapping
from typing import Final

from homeserver.core.errors import InvalidParam
from homeserver.core.event import Event
from homeserver.core.identifiers import UserID, parse_user_id
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.power_levels import Level, PowerLevels, creators_of, read_level, read_levels
from homeserver.core.room_versions import RoomVersion

_SINGLE: Final = ("users_default", "events_default", "state_default", "ban", "kick", "redact", "invite")
_TABLES: Final = ("users", "events", "notifications")

_CREATOR_LEVEL: Final = 100
_MOST: Final = 2**53 - 1


def levels_for_new_room(
    power_levels: Event | None, create: Event, version: RoomVersion, creators: Collection[UserID]
) -> JsonObject:
    """The content of `m.room.power_levels` in a room of `version` that these `creators` make.

    `power_levels` and `create` are of the room that it replaces. Levels are spelled as all versions read them; what
    cannot be read is left out. Where creators have a power of their own, they do not stand in `users`; coming from
    such a room into one where they have not, they get a level to do everything that needs one.
    """
    old = {} if power_levels is None else power_levels.content
    old_version = create.room_version
    content: JsonObject = {
        key: value for key, value in old.items() if key not in _SINGLE and key not in _TABLES
    }
    for key in _SINGLE:
        if key in old and (level := _spelled(read_level(old[key], old_version))) is not None:
            content[key] = level
    for key in _TABLES:
        if (stated := read_levels(old.get(key), old_version)) is not None:
            content[key] = _spelled_all(stated)
    stated = read_levels(old.get("users"), old_version) or {}
    users = _spelled_all({user_id: level for user_id, level in stated.items() if _is_user_id(user_id)})
    if version.privileged_creators:
        users = {user_id: level for user_id, level in users.items() if user_id not in creators}
    if old_version.privileged_creators and not version.privileged_creators:
        users |= dict.fromkeys(creators_of(create), _highest(content))
    elif power_levels is None and not old_version.privileged_creators:
        # Who made a room without power levels has this one there.
        others = creators_of(create) - (set(creators) if version.privileged_creators else set())
        users |= {user_id: _CREATOR_LEVEL for user_id in others if _is_user_id(user_id)}
    content["users"] = users
    return content


def levels_for_old_room(power_levels: Event | None, levels: PowerLevels) -> JsonObject:
    """The content of `m.room.power_levels` with which few can speak or invite in a room that has been replaced.

    Spec: "setting `events_default` and `invite` to the greater of `50` and `users_default + 1`"; what is higher than
    that stays.
    """
    content: JsonObject = {} if power_levels is None else dict(power_levels.content)
    if power_levels is None:
        # Who has a level only for want of this event keeps it.
        content["users"] = _spelled_all(
            {user_id: level for user_id, level in levels.users.items() if not math.isinf(level)}
        )
    least = max(50, (_spelled(levels.users_default) or 0) + 1)
    for key, level in (("events_default", levels.events_default), ("invite", levels.invite)):
        if not level >= least:
            content[key] = least
    return content


def _highest(content: JsonObject) -> int:
    """A level that suffices for everything that has one, and at least that of creators."""
    events, single = content.get("events"), (content.get(key) for key in _SINGLE)
    stated = [*(events.values() if isinstance(events, dict) else ()), *single]
    return max(_CREATOR_LEVEL, *(level for level in stated if isinstance(level, int)))


def _spelled(level: Level) -> int | None:
    """The level as an integer that every room version takes; None if there is none."""
    return int(level) if math.isfinite(level) and abs(level) <= _MOST else None


def _spelled_all(levels: Mapping[str, Level]) -> dict[str, JsonValue]:
    spelled = {key: _spelled(level) for key, level in levels.items()}
    return {key: level for key, level in spelled.items() if level is not None}


def _is_user_id(text: str) -> bool:
    try:
        parse_user_id(text)
    except InvalidParam:
        return False
    return True
