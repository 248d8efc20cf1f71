"""What other servers may ask about this one's aliases and users.

Spec: server-server API, "Querying for information".
"""

import msgspec

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomAlias, ServerName, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.core.profiles import check_key
from homeserver.database.database import Database
from homeserver.services.aliases import ResolvedAlias, resolve_alias
from homeserver.services.profiles import field_of, profile_of


class FederationQueries(msgspec.Struct, frozen=True):
    """Answers the questions of other servers."""

    database: Database
    server_name: ServerName

    async def room_under(self, alias: RoomAlias) -> ResolvedAlias:
        """The room of an alias, and the servers in it, this one first.

        Errors: NotFound, also for aliases of other servers.
        """
        if server_of(alias) != self.server_name:
            raise NotFound("Room alias not found")
        return await self.database.read(resolve_alias, alias, self.server_name)

    async def profile_of(self, user_id: UserID, field: str | None) -> JsonObject:
        """The profile of a user of this server, or the one field of it.

        Errors: InvalidParam for users of other servers; NotFound if there is no such user, or no such field.
        """
        if server_of(user_id) != self.server_name:
            raise InvalidParam(f"{user_id} is not a user of this server")
        if field is None:
            return await self.database.read(profile_of, user_id)
        check_key(field)
        return {field: await self.database.read(field_of, user_id, field)}
