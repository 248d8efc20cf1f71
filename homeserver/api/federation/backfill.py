"""Server-server API, `backfill.yaml`: the history of rooms."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName, parse_event_id
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_history import FederationHistory, MissingEvents


class BackfillRoomQuery(msgspec.Struct):
    """From which events on, and how many in all."""

    v: list[str]
    limit: int


class GetMissingPreviousEventsRequest(msgspec.Struct):
    """What the asking server has, what it was sent, and how many of the events in between it wants."""

    earliest_events: list[str]
    latest_events: list[str]
    limit: int = 10
    min_depth: int = 0


class Backfill(msgspec.Struct, frozen=True):
    """History for other servers."""

    history: FederationHistory

    @endpoint("GET", "/_matrix/federation/v1/backfill/{room_id}", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def backfill_room(self, origin: ServerName, room_id: RoomID, query: BackfillRoomQuery) -> RawJson:
        """Events, and those that precede them."""
        return RawJson(await self.history.backfill(origin, room_id, _ids(query.v), query.limit))

    @endpoint(
        "POST",
        "/_matrix/federation/v1/get_missing_events/{room_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def get_missing_previous_events(
        self, origin: ServerName, room_id: RoomID, body: GetMissingPreviousEventsRequest
    ) -> RawJson:
        """Events between those that the asking server has and those that it was sent."""
        asked = MissingEvents(
            room_id,
            frozenset(_ids(body.earliest_events)),
            tuple(dict.fromkeys(_ids(body.latest_events))),
            body.limit,
            body.min_depth,
        )
        return RawJson(await self.history.missing(origin, asked))


def _ids(listed: list[str]) -> list[EventID]:
    """What is listed, if it is event IDs. Errors: InvalidParam."""
    return [parse_event_id(each) for each in listed]
