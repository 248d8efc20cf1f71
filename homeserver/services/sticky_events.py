"""Sticky events: those that are not shown at first are shown in time, and those that have expired are forgotten.

Spec: MSC4354.
"""

from typing import Final

import msgspec
import structlog

from homeserver.core.identifiers import RoomID
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.rooms.sticky_events import release
from homeserver.runtime.clock import Clock
from homeserver.storage import sticky_events

ROOMS_AT_ONCE: Final = 20

EXPIRED_AT_ONCE: Final = 500

TROUBLE_MS: Final = 60_000
"""For how long a room is left alone of which something cannot be read."""

_log = structlog.get_logger(__name__)


class StickyEvents(msgspec.Struct, frozen=True):
    """Does what nobody asks for. Every process may: what one has done is nothing any more for the others."""

    database: Database
    clock: Clock

    async def work(self) -> None:
        """Show what is not shown yet, and can be now. A loop's work."""
        now_ts = self.clock.now_ts()
        for room_id in await self.database.look_up(
            sticky_events.waiting_rooms, now_ts=now_ts, most=ROOMS_AT_ONCE
        ):
            await self._release(room_id, now_ts)

    async def expire(self) -> None:
        """Forget what does not stick any more. A loop's work."""
        now_ts = self.clock.now_ts()
        while await self.database.write_soon(sticky_events.expire, now_ts=now_ts, most=EXPIRED_AT_ONCE):
            pass

    async def _release(self, room_id: RoomID, now_ts: int) -> None:
        try:
            await self.database.write(release, room_id, now_ts=now_ts)
        except StorageUnavailable:
            raise
        except Exception:  # noqa: BLE001 - one room's fault is not the others'
            _log.exception("sticky events cannot be shown", room=room_id)
            await self.database.write_soon(sticky_events.put_off_room, room_id, until_ts=now_ts + TROUBLE_MS)
