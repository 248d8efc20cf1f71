"""Removing rooms that no user of this server remembers. Spec: client-server API, `leaving.yaml`."""

import msgspec

from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.storage import memberships, pending_joins, room_purges, rooms
from homeserver.storage.room_purges import RoomPurge as Purge

LEASE_MS = 60_000
"""If a process dies at it, another goes on after this time."""

BATCH = 200
"""Rows that are removed in one transaction."""


class RoomPurge(msgspec.Struct, frozen=True):
    """Removes rooms in small steps; one that is broken off is gone on with, by whichever process."""

    database: Database
    clock: Clock

    async def work(self) -> None:
        """Remove all rooms that are due; to be called about once a minute."""
        while (purge := await self._claim()) is not None:
            if not await self.database.write(close_forgotten, purge, now_ts=self.clock.now_ts()):
                continue
            while await self.database.write_soon(
                room_purges.remove_some, purge, most=BATCH, until_ts=self.clock.now_ts() + LEASE_MS
            ):
                pass
            await self.database.write(room_purges.forget, purge)

    async def _claim(self) -> Purge | None:
        now_ts = self.clock.now_ts()
        return await self.database.write(room_purges.claim, now_ts=now_ts, until_ts=now_ts + LEASE_MS)


def close_forgotten(tx: WriteTransaction, purge: Purge, *, now_ts: int) -> bool:
    """Make the room unknown, unless somebody remembers it now, or is just entering it; whether it is to be removed."""
    room = rooms.lock(tx, purge.room_id)
    pending = pending_joins.lock(tx, purge.room_id)
    if pending is not None and pending.until_ts > now_ts:
        # It is seen to again when that has come to an end.
        return False
    if room is not None and room.room_nid == purge.room_nid:
        if memberships.is_remembered(tx, purge.room_nid):
            room_purges.forget(tx, purge)
            return False
        room_purges.close(tx, purge)
    # Otherwise it has been closed before, by a process that did not get any further.
    return True
