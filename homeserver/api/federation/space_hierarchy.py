"""Server-server API, `space_hierarchy.yaml`: spaces and their children."""

import msgspec

from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.federation_spaces import FederationSpaces


class GetSpaceHierarchyQuery(msgspec.Struct):
    """Whether only suggested children are asked for."""

    suggested_only: bool = False


class SpaceHierarchy(msgspec.Struct, frozen=True):
    """Spaces for other servers."""

    spaces: FederationSpaces

    @endpoint("GET", "/_matrix/federation/v1/hierarchy/{room_id}", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def get_space_hierarchy(
        self, origin: ServerName, room_id: RoomID, query: GetSpaceHierarchyQuery
    ) -> JsonObject:
        """A room and its children."""
        return await self.spaces.hierarchy(origin, room_id, suggested_only=query.suggested_only)
