"""Client-server API, `mutual_rooms.yaml`: the rooms that two users share."""

import msgspec

from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.mutual_rooms import MutualRooms as Shared


class GetMutualRoomsQuery(msgspec.Struct):
    """With whom, and which part."""

    user_id: str
    from_: str | None = msgspec.field(default=None, name="from")


class MutualRoomsResponse(msgspec.Struct, omit_defaults=True):
    """A part of the rooms."""

    joined: list[RoomID]
    count: int
    next_batch: str | None = None


class MutualRooms(msgspec.Struct, frozen=True):
    """The rooms that two users share."""

    shared: Shared

    @endpoint("GET", "/_matrix/client/v1/mutual_rooms", auth=Auth.USER, limit=Limit.SEARCH)
    async def get_mutual_rooms(self, requester: Requester, query: GetMutualRoomsQuery) -> MutualRoomsResponse:
        """The rooms that the requester and another user are joined to."""
        found = await self.shared.between(requester, parse_user_id(query.user_id), query.from_)
        return MutualRoomsResponse(found.joined, found.count, found.next_batch)
