"""The power levels of a state, each power levels event being read once in a process."""

from homeserver.core.auth_events import CREATE, POWER_LEVELS
from homeserver.core.event import Event
from homeserver.core.power_levels import PowerLevels
from homeserver.core.room_versions import RoomVersion
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, state


def levels_of(tx: ReadTransaction, power_levels: Event | None, create: Event) -> PowerLevels:
    """The levels that these events set."""
    if power_levels is None:
        return PowerLevels.of(None, create)
    cache = tx.caches.power_levels
    levels: PowerLevels | None = cache.get(power_levels.event_id)
    if levels is None:
        levels = PowerLevels.of(power_levels, create)
        cache.put(power_levels.event_id, levels)
    return levels


def levels_at(tx: ReadTransaction, root: int, version: RoomVersion) -> PowerLevels:
    """The levels in the state of this root, which has a create event."""
    nids = state.get_many(tx, root, (CREATE, POWER_LEVELS))
    found = events.parsed(tx, list(nids.values()), version)
    power_levels = nids.get(POWER_LEVELS)
    return levels_of(tx, None if power_levels is None else found[power_levels], found[nids[CREATE]])
