"""Server-server API, `event_auth.yaml`: the auth chain of an event."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_events import FederationEvents


class EventAuth(msgspec.Struct, frozen=True):
    """Auth chains for other servers."""

    events: FederationEvents

    @endpoint(
        "GET",
        "/_matrix/federation/v1/event_auth/{room_id}/{event_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def get_event_auth(self, origin: ServerName, room_id: RoomID, event_id: EventID) -> RawJson:
        """The whole auth chain."""
        return RawJson(await self.events.auth_chain(origin, room_id, event_id))
