"""The power levels of a room that is being changed."""

from homeserver.core.auth_events import CREATE, POWER_LEVELS
from homeserver.core.power_levels import PowerLevels
from homeserver.rooms.append import Appender


def levels_in(appender: Appender) -> PowerLevels:
    """The levels as they stand after the events appended so far."""
    found = appender.state_events((CREATE, POWER_LEVELS))
    return PowerLevels.of(found.get(POWER_LEVELS), found[CREATE])
