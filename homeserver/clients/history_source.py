"""Asking other servers for the history of rooms.

Spec: server-server API, `GET /backfill/{roomId}` and `GET /timestamp_to_event/{roomId}`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject

PATIENCE_MS: Final = 10_000
MOST_BYTES: Final = 8 * 1024 * 1024
"""For 100 events of up to 64 KiB each, and what servers add to them."""

ANSWER_BYTES: Final = 16 * 1024

_log = structlog.get_logger(__name__)


class FederationHistorySource(msgspec.Struct, frozen=True):
    """Asks by the federation client. An answer of another shape than it should have is none."""

    client: FederationClient

    async def backfill(
        self, server_name: ServerName, room_id: RoomID, event_ids: Collection[EventID], limit: int
    ) -> list[JsonObject] | None:
        """These events, and those that precede them, up to `limit` in all. None if there is no answer."""
        path = federation_path("v1", "backfill", room_id)
        query = {"v": list(event_ids), "limit": str(limit)}
        answer = await self._get(server_name, path, query, MOST_BYTES)
        pdus = None if answer is None else answer.get("pdus")
        return [each for each in pdus if isinstance(each, dict)][:limit] if isinstance(pdus, list) else None

    async def nearest(
        self, server_name: ServerName, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int] | None:
        """The event sent at `ts` or nearest to it in that direction, and when. None if there is no answer."""
        path = federation_path("v1", "timestamp_to_event", room_id)
        query = {"ts": str(ts), "dir": "f" if forwards else "b"}
        answer = await self._get(server_name, path, query, ANSWER_BYTES)
        if answer is None:
            return None
        event_id, sent_ts = answer.get("event_id"), answer.get("origin_server_ts")
        if not isinstance(event_id, str) or not isinstance(sent_ts, int):
            return None
        return EventID(event_id), sent_ts

    async def _get(
        self, server_name: ServerName, path: str, query: Mapping[str, str | Sequence[str]], most_bytes: int
    ) -> JsonObject | None:
        try:
            return await self.client.get(
                server_name, path, query, patience_ms=PATIENCE_MS, most_bytes=most_bytes
            )
        except RemoteError as error:
            _log.info("a server does not tell of a room's history", server=error.party, reason=error.message)
            return None
