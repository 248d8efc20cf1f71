"""How other servers are doing, for the operator."""

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import destinations, outbound_events
from homeserver.storage.destinations import Destination

MOST_COUNTED = 100_000
"""Missed events that are counted."""


class ServerStatus(msgspec.Struct, frozen=True):
    """A server that is, or has been, hard to reach; `missed_events` are those that it has not been sent."""

    destination: Destination
    missed_events: int


class FederationStatus(msgspec.Struct, frozen=True):
    """Reads what the outbox has noted, and has it try again; the server may be running or not."""

    database: Database

    async def behind(self) -> list[ServerStatus]:
        """All servers that have not been sent everything, by name. Errors: StorageUnavailable."""
        found = []
        for destination in await self.database.read(destinations.behind):
            status = await self.of(destination.server_name)
            if status is not None and status.destination.behind_from is not None:
                found.append(status)
        return found

    async def of(self, server_name: ServerName) -> ServerStatus | None:
        """One server, `None` if it has always answered. Errors: StorageUnavailable."""
        return await self.database.read(status_of, server_name)

    async def retry(self, server_name: ServerName) -> bool:
        """Have a server tried at once; `False` if it is not behind. Errors: StorageUnavailable."""
        status = await self.of(server_name)
        if status is None or status.destination.behind_from is None:
            return False
        await self.database.write(destinations.hasten, server_name)
        return True

    async def retry_all(self) -> int:
        """Have all servers tried at once; gives how many. Errors: StorageUnavailable."""
        return await self.database.write(destinations.hasten_all)


def status_of(tx: ReadTransaction, server_name: ServerName) -> ServerStatus | None:
    """As `FederationStatus.of`."""
    destination = destinations.of(tx, server_name)
    if destination is None:
        return None
    missed = 0
    if destination.behind_from is not None:
        missed = outbound_events.count_missed(
            tx, server_name, after=destination.behind_from, most=MOST_COUNTED
        )
    return ServerStatus(destination, missed)
