"""Whose keys have changed since a client last looked. Spec: client-server API, `GET /keys/changes`."""

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.device_list_changes import DeviceListChanges, read_changes
from homeserver.storage import memberships


class KeyChanges(msgspec.Struct, frozen=True, eq=False):
    """Tells clients that have been away."""

    database: Database

    async def since(self, reader: UserID, position: int) -> DeviceListChanges:
        """What has changed since then, up to now: what is newer than the client knows does no harm."""
        return await self.database.read(_since, reader, position)


def _since(tx: ReadTransaction, reader: UserID, position: int) -> DeviceListChanges:
    return read_changes(tx, reader, memberships.rooms_of(tx, reader), tx.stream_row(), since=position)
