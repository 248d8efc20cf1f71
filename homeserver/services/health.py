"""Whether the server can do its work."""

import msgspec

from homeserver.database.database import Database
from homeserver.database.schema import HEAD
from homeserver.storage import schema_version


class Health(msgspec.Struct, frozen=True):
    """Asks the database."""

    database: Database

    async def problem(self) -> str | None:
        """What keeps the server from its work, `None` if nothing does. Errors: StorageUnavailable."""
        revision = await self.database.read(schema_version.revision)
        if revision != HEAD:
            return (
                f"the database's schema is {revision}, this release needs {HEAD}: run homeserver db upgrade"
            )
        return None
