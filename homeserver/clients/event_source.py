"""Asking other servers for events and states of rooms.

Spec: server-server API, "Backfilling and retrieving missing events", "Retrieving events", "Retrieving event
authorisation information".
"""

from collections.abc import Collection
from typing import Final

import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.state_ids import StateIds

PATIENCE_MS: Final = 15_000
"""For an answer of a few events."""

STATE_PATIENCE_MS: Final = 60_000
STATE_BYTES: Final = 100 * 1024 * 1024
"""For a whole state: 100,000 events of 1 KiB."""

IDS_BYTES: Final = 10 * 1024 * 1024

EVENTS_BYTES: Final = 5 * 1024 * 1024
"""For the 50 events, of up to 64 KiB each, of one answer."""

_log = structlog.get_logger(__name__)


class FederationEventSource(msgspec.Struct, frozen=True):
    """Asks by the federation client. An answer of another shape than it should have is none."""

    client: FederationClient

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
        body: JsonObject = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        try:
            answer = await self.client.post(
                server_name,
                federation_path("v1", "get_missing_events", room_id),
                body,
                patience_ms=PATIENCE_MS,
                most_bytes=EVENTS_BYTES,
            )
        except RemoteError as error:
            _note(error)
            return None
        return _objects(answer.get("events"))

    async def state_ids(self, server_name: ServerName, room_id: RoomID, event_id: EventID) -> StateIds | None:
        """The state before an event."""
        path = federation_path("v1", "state_ids", room_id)
        answer = await self._get(server_name, path, event_id, STATE_PATIENCE_MS, IDS_BYTES)
        if answer is None:
            return None
        state, auth_chain = _ids(answer.get("pdu_ids")), _ids(answer.get("auth_chain_ids"))
        return None if state is None or auth_chain is None else StateIds(state, auth_chain)

    async def state(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        """The events of the state before an event, and those of their auth chains."""
        path = federation_path("v1", "state", room_id)
        answer = await self._get(server_name, path, event_id, STATE_PATIENCE_MS, STATE_BYTES)
        if answer is None:
            return None
        state, auth_chain = _objects(answer.get("pdus")), _objects(answer.get("auth_chain"))
        return None if state is None or auth_chain is None else state + auth_chain

    async def event(self, server_name: ServerName, event_id: EventID) -> JsonObject | None:
        """One event."""
        path = federation_path("v1", "event", event_id)
        answer = await self._get(server_name, path, None, PATIENCE_MS, EVENTS_BYTES)
        events = None if answer is None else _objects(answer.get("pdus"))
        return events[0] if events else None

    async def event_auth(
        self, server_name: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject] | None:
        """The auth chain of an event."""
        path = federation_path("v1", "event_auth", room_id, event_id)
        answer = await self._get(server_name, path, None, STATE_PATIENCE_MS, STATE_BYTES)
        return None if answer is None else _objects(answer.get("auth_chain"))

    async def _get(
        self,
        server_name: ServerName,
        path: str,
        event_id: EventID | None,
        patience_ms: int,
        most_bytes: int,
    ) -> JsonObject | None:
        query = None if event_id is None else {"event_id": event_id}
        try:
            return await self.client.get(
                server_name, path, query, patience_ms=patience_ms, most_bytes=most_bytes
            )
        except RemoteError as error:
            _note(error)
            return None


def _note(error: RemoteError) -> None:
    _log.info("a server does not tell of a room's events", server=error.party, reason=error.message)


def _objects(value: JsonValue) -> list[JsonObject] | None:
    """A list of objects; None if it is none. What else is in it is left out."""
    if not isinstance(value, list):
        return None
    return [each for each in value if isinstance(each, dict)]


def _ids(value: JsonValue) -> tuple[EventID, ...] | None:
    """A list of event IDs; None if it is none."""
    if not isinstance(value, list):
        return None
    return tuple(EventID(each) for each in value if isinstance(each, str) and 0 < len(each) <= 255)
