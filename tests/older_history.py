"""A server that is alone: there is no history but its own."""

from homeserver.core.identifiers import RoomID
from homeserver.services.backfill import Progress


class NoOlderHistory:
    """Nobody can be asked."""

    async def extend(self, room_id: RoomID, gap: int) -> Progress:
        """Nothing has been fetched."""
        del room_id, gap
        return Progress.NONE

    async def reach(self, room_id: RoomID, ts: int, *, forwards: bool) -> bool:
        """Nothing has been reached."""
        del room_id, ts, forwards
        return False
