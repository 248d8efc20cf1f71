"""Forgetting what is kept of other servers' users, and of what other servers were told, where no room is shared."""

from typing import Final

import msgspec

from homeserver.core.identifiers import ServerName, UserID
from homeserver.database.database import Database
from homeserver.storage import device_changes, remote_device_lists

MOST: Final = 200
"""Rows that one transaction looks at."""


class DeviceListUpkeep(msgspec.Struct, frozen=True):
    """Looks through both tables; which process does it, and how often, makes no difference."""

    database: Database

    async def prune(self) -> None:
        """Look through everything once. A loop's work."""
        user_id: UserID | None = UserID("")
        while user_id is not None:
            user_id = await self.database.write_soon(remote_device_lists.prune, user_id, most=MOST)
        told: tuple[ServerName, UserID] | None = (ServerName(""), UserID(""))
        while told is not None:
            told = await self.database.write_soon(device_changes.prune_told, told, most=MOST)
