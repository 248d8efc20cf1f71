"""Server-server API, `joins-v2.yaml`: joins."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_handshakes import Submitted
from homeserver.services.federation_joins import FederationJoins


class SendJoinQuery(msgspec.Struct):
    """Whether the joining server can do without the memberships for now."""

    omit_members: bool = False


class JoinsV2(msgspec.Struct, frozen=True):
    """Joins."""

    joins: FederationJoins

    @endpoint(
        "PUT",
        "/_matrix/federation/v2/send_join/{room_id}/{event_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def send_join_v2(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, body: JsonObject, query: SendJoinQuery
    ) -> RawJson:
        """Join a user of the other server."""
        submitted = Submitted(origin, room_id, event_id, "join", body)
        return RawJson(await self.joins.send(submitted, omit_members=query.omit_members))
