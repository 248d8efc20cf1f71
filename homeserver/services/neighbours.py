"""Which servers this one has to do with."""

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.storage import room_servers


class Neighbours(msgspec.Struct, frozen=True):
    """Servers with users in rooms that this server knows."""

    database: Database

    async def shares_room(self, server_name: ServerName) -> bool:
        """Whether the server is in some room."""
        return await self.database.read(room_servers.is_in_some_room, server_name)
