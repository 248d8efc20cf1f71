"""Client-server API, `account-data.yaml`: what clients keep for their user."""

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services import account_data

GLOBAL = "/_matrix/client/v3/user/{user_id}/account_data/{type}"
PER_ROOM = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{type}"


class AccountData(msgspec.Struct, frozen=True):
    """The endpoints of account data."""

    account_data: account_data.AccountData

    @endpoint("PUT", GLOBAL, auth=Auth.USER, limit=Limit.UPDATES)
    async def set_account_data(
        self, requester: Requester, user_id: UserID, type: str, body: JsonObject
    ) -> JsonObject:
        """Set data of the whole account."""
        await self.account_data.put(requester, user_id, None, type, body)
        return {}

    @endpoint("GET", GLOBAL, auth=Auth.USER)
    async def get_account_data(self, requester: Requester, user_id: UserID, type: str) -> RawJson:
        """Data of the whole account."""
        return RawJson(await self.account_data.get(requester, user_id, None, type))

    @endpoint("PUT", PER_ROOM, auth=Auth.USER, limit=Limit.UPDATES)
    async def set_account_data_per_room(
        self, requester: Requester, user_id: UserID, room_id: RoomID, type: str, body: JsonObject
    ) -> JsonObject:
        """Set data that belong to a room."""
        await self.account_data.put(requester, user_id, room_id, type, body)
        return {}

    @endpoint("GET", PER_ROOM, auth=Auth.USER)
    async def get_account_data_per_room(
        self, requester: Requester, user_id: UserID, room_id: RoomID, type: str
    ) -> RawJson:
        """Data that belong to a room."""
        return RawJson(await self.account_data.get(requester, user_id, room_id, type))
