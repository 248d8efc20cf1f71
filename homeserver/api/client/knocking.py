"""Client-server API, `knocking.yaml`: asking to be invited."""

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships


class KnockRequest(msgspec.Struct):
    """Why the user wants to be let in."""

    reason: str | None = None


class KnockQuery(msgspec.Struct):
    """Servers that may be in the room; `server_name` is the old name of `via`."""

    via: list[str] = []
    server_name: list[str] = []


class KnockResponse(msgspec.Struct):
    """The room that was knocked on."""

    room_id: RoomID


class Knocking(msgspec.Struct, frozen=True):
    """Asking to be invited."""

    memberships: Memberships

    @endpoint("POST", "/_matrix/client/v3/knock/{room}", auth=Auth.USER, limit=Limit.JOINS)
    async def knock_room(
        self, requester: Requester, room: str, body: KnockRequest, query: KnockQuery
    ) -> KnockResponse:
        """Knock on a room, by its ID or one of its aliases."""
        extra: JsonObject = {} if body.reason is None else {"reason": body.reason}
        return KnockResponse(
            await self.memberships.knock(requester, room, extra, query.via or query.server_name)
        )
