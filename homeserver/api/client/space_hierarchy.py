"""Client-server API, `space_hierarchy.yaml`: what is in a space."""

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.space_hierarchy import SpaceHierarchies, Wish


class GetSpaceHierarchyQuery(msgspec.Struct):
    """How much of the tree is asked for."""

    suggested_only: bool | None = None
    limit: int | None = None
    max_depth: int | None = None
    from_: str | None = msgspec.field(default=None, name="from")


class SpaceHierarchyResponse(msgspec.Struct, omit_defaults=True):
    """A part of the tree."""

    rooms: list[JsonObject]
    next_batch: str | None = None


class SpaceHierarchy(msgspec.Struct, frozen=True):
    """What is in a space."""

    hierarchies: SpaceHierarchies

    @endpoint("GET", "/_matrix/client/v1/rooms/{room_id}/hierarchy", auth=Auth.USER, limit=Limit.SEARCH)
    async def get_space_hierarchy(
        self, requester: Requester, room_id: RoomID, query: GetSpaceHierarchyQuery
    ) -> SpaceHierarchyResponse:
        """A part of the tree of rooms under a space."""
        wish = Wish(
            suggested_only=query.suggested_only,
            max_depth=query.max_depth,
            limit=query.limit,
            place=query.from_,
        )
        page = await self.hierarchies.page(requester, room_id, wish)
        return SpaceHierarchyResponse(page.rooms, page.next_batch)
