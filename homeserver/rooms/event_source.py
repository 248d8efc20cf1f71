"""What is asked of other servers about a room's events; who asks them is no matter of this package."""

from collections.abc import Collection
from typing import Protocol

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.state_ids import StateIds


class EventSource(Protocol):
    """Other servers; an answer of None is none: the server cannot be reached, or does not know, or says nonsense.

    What they give has not been checked. Spec: server-server API, "Backfilling and retrieving missing events",
    "Retrieving events" and "Retrieving event authorisation information".
    """

    async def missing_events(
        self,
        server_name: ServerName,
        room_id: RoomID,
        *,
        earliest: Collection[EventID],
        latest: Collection[EventID],
        limit: int,
        min_depth: int,
    ) -> list[JsonObject] | None:
        """Events between `earliest` and `latest`, up to `limit` of them, none less deep than `min_depth`."""
        ...

    async def state_ids(self, server_name: ServerName, room_id: RoomID, event_id: EventID) -> StateIds | None:
        """The state before an event."""
        ...

    async def state(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        """The events of the state before an event, and those of their auth chains."""
        ...

    async def event(self, server_name: ServerName, event_id: EventID) -> JsonObject | None:
        """One event."""
        ...

    async def event_auth(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        """The auth chain of an event."""
        ...
