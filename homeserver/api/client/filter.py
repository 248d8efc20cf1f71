"""Client-server API, `filter.yaml`: filters that clients refer to by their IDs."""

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.filters import Filters


class DefineFilterResponse(msgspec.Struct):
    """The filter was kept."""

    filter_id: str


class Filter(msgspec.Struct, frozen=True):
    """The endpoints of filters."""

    filters: Filters

    @endpoint("POST", "/_matrix/client/v3/user/{user_id}/filter", auth=Auth.USER, limit=Limit.UPDATES)
    async def define_filter(
        self, requester: Requester, user_id: UserID, body: JsonObject
    ) -> DefineFilterResponse:
        """Keep a filter."""
        return DefineFilterResponse(await self.filters.add(requester, user_id, body))

    @endpoint("GET", "/_matrix/client/v3/user/{user_id}/filter/{filter_id}", auth=Auth.USER)
    async def get_filter(self, requester: Requester, user_id: UserID, filter_id: str) -> RawJson:
        """A filter that was kept."""
        return RawJson(await self.filters.get(requester, user_id, filter_id))
