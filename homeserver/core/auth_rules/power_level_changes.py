"""Rules for changes of the power levels.

Spec: room versions, "Authorisation rules": the rule for `m.room.power_levels`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final

from homeserver.core.auth_rules.create import is_user_id
from homeserver.core.auth_rules.not_allowed import NotAllowed
from homeserver.core.event import Event
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.power_levels import Level, creators_of, read_level, read_levels
from homeserver.core.room_versions import RoomVersion

_SINGLE_LEVELS: Final = (
    "users_default",
    "events_default",
    "state_default",
    "ban",
    "redact",
    "kick",
    "invite",
)


def check_power_levels(event: Event, current: Event | None, create: Event, sender_level: Level) -> None:
    """Whether the sender may replace the `current` power levels event by this one.

    What cannot be read as a level is neither more nor less than the sender's level, and so never allowed
    where levels are compared. Errors: NotAllowed.
    """
    version = event.room_version
    new = event.content
    if version.integer_power_levels:
        _check_integers(new)
    # users is an object of user IDs with levels.
    users = _levels_in(new, "users", version, "users of the power levels is an object of levels")
    if not all(is_user_id(user_id) and not math.isnan(level) for user_id, level in users.items()):
        raise NotAllowed("users of the power levels has user IDs with levels")
    # Where creators are privileged, users has none of them.
    if version.privileged_creators and not creators_of(create).isdisjoint(users):
        raise NotAllowed("users of the power levels does not have the room's creators")
    # If the room has no power levels yet, allow.
    if current is None:
        return
    old = current.content
    _check_single_levels(old, new, version, sender_level)
    _check_tables(old, new, version, sender_level)
    _check_users(old, users, event.sender, version, sender_level)
    # Otherwise, allow.


def _check_integers(content: JsonObject) -> None:
    """In the versions that want integers, nothing else will do."""
    # users_default, events_default, state_default, ban, redact, kick and invite are integers, if present.
    if not all(_is_integer(content[name]) for name in _SINGLE_LEVELS if name in content):
        raise NotAllowed("The power levels are integers")
    # events and notifications are objects of integers, if present.
    for name in ("events", "notifications"):
        table = content.get(name, {})
        if not isinstance(table, dict) or not all(_is_integer(value) for value in table.values()):
            raise NotAllowed(f"{name} of the power levels is an object of integers")
    # (That users is one too follows for all versions.)


def _check_single_levels(old: JsonObject, new: JsonObject, version: RoomVersion, sender_level: Level) -> None:
    # For users_default, events_default, state_default, ban, redact, kick and invite, if added, changed or
    # removed:
    for _, before, after in _alterations(_single_levels(old, version), _single_levels(new, version)):
        # the current value is not above the sender's level,
        if before is not None and not before <= sender_level:
            raise NotAllowed("Levels above the sender's own cannot be changed")
        # nor is the new one.
        if after is not None and not after <= sender_level:
            raise NotAllowed("Levels cannot be set above the sender's own")


def _check_tables(old: JsonObject, new: JsonObject, version: RoomVersion, sender_level: Level) -> None:
    names = ("events", "notifications") if version.notifications_power_levels_checked else ("events",)
    altered = [
        alteration
        for name in names
        for alteration in _alterations(
            _levels_in(old, name, version, f"The current {name} of the power levels is an object"),
            _levels_in(new, name, version, f"{name} of the power levels is an object"),
        )
    ]
    # For each entry of events (later also notifications) that is changed or removed, the current value is not
    # above the sender's level.
    if any(before is not None and not before <= sender_level for _, before, _ in altered):
        raise NotAllowed("Levels of events above the sender's own cannot be changed")
    # For each entry that is added or changed, the new value is not above the sender's level.
    if any(after is not None and not after <= sender_level for _, _, after in altered):
        raise NotAllowed("Levels of events cannot be set above the sender's own")


def _check_users(
    old: JsonObject, users: Mapping[str, Level], sender: str, version: RoomVersion, sender_level: Level
) -> None:
    current = _levels_in(old, "users", version, "The current users of the power levels is an object")
    altered = list(_alterations(current, users))
    # For each entry of users that is changed or removed, other than the sender's own, the current value is
    # below the sender's level.
    if any(
        before is not None and user_id != sender and not before < sender_level
        for user_id, before, _ in altered
    ):
        raise NotAllowed("Users with the sender's power or more cannot be changed")
    # For each entry that is added or changed, the new value is not above the sender's level.
    if any(after is not None and not after <= sender_level for _, _, after in altered):
        raise NotAllowed("Users cannot be given more power than the sender's own")


def _is_integer(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _single_levels(content: JsonObject, version: RoomVersion) -> dict[str, Level]:
    return {name: read_level(content[name], version) for name in _SINGLE_LEVELS if name in content}


def _levels_in(content: JsonObject, name: str, version: RoomVersion, rule: str) -> dict[str, Level]:
    levels = read_levels(content.get(name, {}), version)
    if levels is None:
        raise NotAllowed(rule)
    return levels


def _alterations(
    old: Mapping[str, Level], new: Mapping[str, Level]
) -> Iterator[tuple[str, Level | None, Level | None]]:
    """The key, the current and the new level of all entries that differ; None where there is no entry.

    A level that cannot be read differs even from itself.
    """
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before != after:
            yield key, before, after
