"""The power levels of a room."""

from homeserver.core.auth_events import CREATE, POWER_LEVELS
from homeserver.core.power_levels import PowerLevels
from homeserver.rooms.current_state import RoomState


def levels_in(state: RoomState) -> PowerLevels:
    """The levels as they stand; for a room that is being changed, after the events appended so far."""
    found = state.state_events((CREATE, POWER_LEVELS))
    return PowerLevels.of(found.get(POWER_LEVELS), found[CREATE])
