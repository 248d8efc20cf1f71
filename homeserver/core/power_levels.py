"""Power levels: what each user may do in a room.

A level is an integer, or `INFINITE`: the level of the creators in rooms whose version privileges them. Where
a room holds something from which no level can be read (possible in old room versions, which do not check all
of a power levels event), the level is `UNREADABLE`: every comparison with it is false. Code therefore asks
whether something is permitted, `level >= required`, and never whether it is forbidden, `level < required`.

Spec: client-server API, "m.room.power_levels" and "Permissions"; the room versions' pages for the spelling.
"""

import math
import re
import sys
from collections.abc import Mapping
from typing import Final, Self, TypeAlias

import attrs

from homeserver.core.event import Event
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.room_versions import RoomVersion

Level: TypeAlias = float
"""An `int`, `INFINITE` or `UNREADABLE`; the two latter are floats, no other float occurs."""

INFINITE: Final[Level] = math.inf
UNREADABLE: Final[Level] = math.nan

_CREATOR_LEVEL: Final = 100
_LARGEST: Final = int(sys.float_info.max)
_SMALL: Final = 2**53
_LARGEST_DIGITS: Final = len(str(_LARGEST))
_SPELLED_INTEGER: Final = re.compile(r"([+-]?)0*([0-9]+)")


@attrs.frozen(slots=True)
class PowerLevels:
    """The levels of a room at some state of it; worth keeping per power levels event, since reading it costs.

    `users` and `events` hold what is stated, and in `users` the creators with `INFINITE` where the room
    version says so; the methods add the defaults.
    """

    users: Mapping[str, Level]
    events: Mapping[str, Level]
    _notifications: Mapping[str, Level]
    users_default: Level
    events_default: Level
    state_default: Level
    notifications_default: Level
    invite: Level
    kick: Level
    ban: Level
    redact: Level

    @classmethod
    def of(cls, power_levels_event: Event | None, create_event: Event) -> Self:
        """The levels that the room's power levels event states; the defaults if the room has none."""
        version = create_event.room_version
        content = {} if power_levels_event is None else power_levels_event.content
        users, users_readable = _table(content, "users", version)
        events, events_readable = _table(content, "events", version)
        notifications, notifications_readable = _table(content, "notifications", version)
        if version.privileged_creators:
            users.update(dict.fromkeys(creators_of(create_event), INFINITE))
        elif power_levels_event is None:
            users.update(dict.fromkeys(creators_of(create_event), _CREATOR_LEVEL))
        return cls(
            users,
            events,
            notifications,
            _level(content, "users_default", 0, version) if users_readable else UNREADABLE,
            _level(content, "events_default", 0, version) if events_readable else UNREADABLE,
            _level(content, "state_default", 50, version) if events_readable else UNREADABLE,
            50 if notifications_readable else UNREADABLE,
            _level(content, "invite", 0, version),
            _level(content, "kick", 50, version),
            _level(content, "ban", 50, version),
            _level(content, "redact", 50, version),
        )

    def user_level(self, user_id: str) -> Level:
        """The level of a user, whether or not they are in the room."""
        return self.users.get(user_id, self.users_default)

    def event_level(self, event_type: str, is_state: bool) -> Level:
        """The level required to send such an event; membership changes have rules of their own."""
        return self.events.get(event_type, self.state_default if is_state else self.events_default)

    def notifications(self, key: str) -> Level:
        """The level required to notify with this key, such as `room`."""
        return self._notifications.get(key, self.notifications_default)


def creators_of(create_event: Event) -> frozenset[str]:
    """The room's creators: one, except where the room version knows `additional_creators`.

    Empty if `content.creator`, which room versions 1 to 10 go by, is no string.
    """
    version = create_event.room_version
    if not version.implicit_room_creator:
        creator = create_event.content.get("creator")
        return frozenset((creator,)) if isinstance(creator, str) else frozenset()
    creators: set[str] = {create_event.sender}
    if version.privileged_creators:
        additional = create_event.content.get("additional_creators")
        if isinstance(additional, list):
            creators.update(user_id for user_id in additional if isinstance(user_id, str))
    return frozenset(creators)


def read_level(value: JsonValue, room_version: RoomVersion) -> Level:
    """The level that a JSON value spells in this room version; `UNREADABLE` if it spells none.

    Old versions take strings ("000100", " +5 "), and still older ones floats, which lose their fraction. What
    a double cannot hold is no level.
    """
    if isinstance(value, bool):
        return UNREADABLE
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else UNREADABLE
    if isinstance(value, float) and room_version.float_power_levels and math.isfinite(value):
        return int(value)
    if isinstance(value, str) and not room_version.integer_power_levels:
        return _spelled_level(value)
    return UNREADABLE


def read_levels(value: JsonValue, room_version: RoomVersion) -> dict[str, Level] | None:
    """The levels of an object such as `users`, by key; None if it is no object."""
    if not isinstance(value, dict):
        return None
    return {
        key: level if type(level) is int and -_SMALL < level < _SMALL else read_level(level, room_version)
        for key, level in value.items()
    }


def _spelled_level(text: str) -> Level:
    match = _SPELLED_INTEGER.fullmatch(text.strip())
    if match is None or len(match[2]) > _LARGEST_DIGITS:
        return UNREADABLE
    number = int(match[2])
    if number > _LARGEST:
        return UNREADABLE
    return -number if match[1] == "-" else number


def _level(content: JsonObject, name: str, default: int, room_version: RoomVersion) -> Level:
    if name not in content:
        return default
    return read_level(content[name], room_version)


def _table(content: JsonObject, name: str, room_version: RoomVersion) -> tuple[dict[str, Level], bool]:
    """The levels of `users`, `events` or `notifications`, and whether it was an object, or absent."""
    levels = read_levels(content.get(name, {}), room_version)
    return ({}, False) if levels is None else (levels, True)
