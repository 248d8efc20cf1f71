"""Server-server API, `events.yaml`: single events, the state at events, and events by the time they were sent."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName, parse_event_id
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_events import FederationEvents
from homeserver.services.federation_history import FederationHistory

_MOST = 2**63 - 1


class AtEvent(msgspec.Struct):
    """The event before which the state is asked for."""

    event_id: str


class AtTime(msgspec.Struct):
    """A time in milliseconds, and where to go from it."""

    ts: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
    dir: Literal["f", "b"]


class GetEventByTimestampResponse(msgspec.Struct):
    """The event that was found."""

    event_id: EventID
    origin_server_ts: int


class Events(msgspec.Struct, frozen=True):
    """Events for other servers."""

    events: FederationEvents
    history: FederationHistory

    @endpoint("GET", "/_matrix/federation/v1/state/{room_id}", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def get_room_state(self, origin: ServerName, room_id: RoomID, query: AtEvent) -> RawJson:
        """The state before an event, with its auth chain."""
        return RawJson(await self.events.state(origin, room_id, parse_event_id(query.event_id)))

    @endpoint("GET", "/_matrix/federation/v1/state_ids/{room_id}", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def get_room_state_ids(self, origin: ServerName, room_id: RoomID, query: AtEvent) -> RawJson:
        """The state before an event, with its auth chain, as event IDs."""
        return RawJson(await self.events.state_ids(origin, room_id, parse_event_id(query.event_id)))

    @endpoint("GET", "/_matrix/federation/v1/event/{event_id}", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def get_event(self, origin: ServerName, event_id: EventID) -> RawJson:
        """One event."""
        return RawJson(await self.events.event(origin, event_id))

    @endpoint(
        "GET",
        "/_matrix/federation/v1/timestamp_to_event/{room_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def get_event_by_timestamp(
        self, origin: ServerName, room_id: RoomID, query: AtTime
    ) -> GetEventByTimestampResponse:
        """The event that was sent nearest to a time."""
        found = await self.history.nearest(origin, room_id, query.ts, forwards=query.dir == "f")
        return GetEventByTimestampResponse(*found)
