"""Client-server API, `sync.yaml`: what is new for a client."""

from typing import Literal

import msgspec

from homeserver.api.waiting import WaitingRequests
from homeserver.core.requester import Requester
from homeserver.core.tokens import SyncToken
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.request import Request
from homeserver.http.response import RawJson
from homeserver.services.presence import Presence
from homeserver.services.sync.filters import SyncFilters
from homeserver.services.sync.service import MAX_TIMEOUT_MS
from homeserver.services.sync.service import Sync as SyncService


class SyncQuery(msgspec.Struct):
    """What a client asks for; `timeout` in milliseconds."""

    filter: str | None = None
    since: str | None = None
    full_state: bool = False
    set_presence: Literal["offline", "online", "unavailable"] = "online"
    timeout: int = 0
    use_state_after: bool = False


class Sync(msgspec.Struct, frozen=True):
    """The endpoint that clients wait at."""

    sync_service: SyncService
    filters: SyncFilters
    presence: Presence
    waiting: WaitingRequests

    @endpoint("GET", "/_matrix/client/v3/sync", auth=Auth.GUEST_OK)
    async def sync(self, requester: Requester, request: Request, query: SyncQuery) -> RawJson:
        """What is new since the client's token, or all of it; waits until there is something."""
        since = SyncToken.parse(query.since) if query.since else None
        compiled = await self.filters.of(requester.user_id, query.filter)
        timeout_ms = max(0, min(query.timeout, MAX_TIMEOUT_MS))
        await self.presence.touch(requester, query.set_presence, wait_ms=timeout_ms)
        answer = await self.waiting.answer(
            requester,
            request,
            lambda over: self.sync_service.sync(
                requester,
                compiled,
                since=since,
                timeout_ms=timeout_ms,
                full_state=query.full_state,
                use_state_after=query.use_state_after,
                gone=over,
            ),
        )
        return RawJson(answer.body)
