"""Server-server API, `knocks.yaml`: asking to be invited."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_handshakes import Submitted
from homeserver.services.federation_knocks import FederationKnocks


class MakeKnockQuery(msgspec.Struct):
    """The room versions that the knocking server knows."""

    ver: list[str]


class Knocks(msgspec.Struct, frozen=True):
    """Asking to be invited."""

    knocks: FederationKnocks

    @endpoint(
        "GET",
        "/_matrix/federation/v1/make_knock/{room_id}/{user_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def make_knock(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, query: MakeKnockQuery
    ) -> JsonObject:
        """What the other server needs to make a knock event."""
        return await self.knocks.make(origin, room_id, user_id, query.ver)

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send_knock/{room_id}/{event_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def send_knock(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, body: JsonObject
    ) -> RawJson:
        """Have a user of the other server knock."""
        return RawJson(await self.knocks.send(Submitted(origin, room_id, event_id, "knock", body)))
