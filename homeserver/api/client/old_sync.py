"""Client-server API, `old_sync.yaml`: what clients read before there was `/sync`.

`getEvents` is in `peeking_events`, whose endpoint has the same URL.
"""

import msgspec

from homeserver.core.identifiers import EventID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.room_events import RoomEvents
from homeserver.services.room_snapshots import RoomSnapshots


class InitialSyncQuery(msgspec.Struct):
    """How many messages per room, and whether rooms that were left are wanted, too."""

    limit: int | None = None
    archived: bool = False


class OldSync(msgspec.Struct, frozen=True):
    """The retired endpoints."""

    snapshots: RoomSnapshots
    events: RoomEvents

    @endpoint("GET", "/_matrix/client/v3/initialSync", auth=Auth.USER, limit=Limit.SEARCH)
    async def initial_sync(self, requester: Requester, query: InitialSyncQuery) -> RawJson:
        """All rooms of the user."""
        snapshot = await self.snapshots.account(requester, limit=query.limit, archived=query.archived)
        return RawJson(snapshot)

    @endpoint("GET", "/_matrix/client/v3/events/{event_id}", auth=Auth.USER)
    async def get_one_event(self, requester: Requester, event_id: EventID) -> RawJson:
        """One event, whatever room it is in."""
        return RawJson(await self.events.get(requester, None, event_id))
