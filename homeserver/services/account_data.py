"""Account data. Spec: client-server API, "Client Config"."""

from typing import Final

import msgspec

from homeserver.core.errors import BadJson, Forbidden, InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, encode
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services import push_rules
from homeserver.services.ignored_users import IGNORED_USER_LIST, put_ignored
from homeserver.storage import account_data

MANAGED: Final = frozenset({"m.fully_read", "m.push_rules"})
"""Types that only the server writes."""

MAX_TYPE_BYTES: Final = 255
MAX_CONTENT_BYTES: Final = 1024 * 1024


class AccountData(msgspec.Struct, frozen=True):
    """Keeps what clients store for their user; `room_id` is `None` for what belongs to the whole account."""

    database: Database

    async def put(
        self, requester: Requester, user_id: UserID, room_id: RoomID | None, type: str, content: JsonObject
    ) -> None:
        """Set the data of this type; all devices of the user are told.

        Errors: Forbidden for another user; BadJson (405) for types that the server manages; InvalidParam;
        TooLarge.
        """
        check_owner(requester, user_id)
        if type in MANAGED:
            raise BadJson(f"Cannot set {type} through this API.", status=405)
        if not 0 < len(type.encode()) <= MAX_TYPE_BYTES:
            raise InvalidParam(f"a type of account data has 1 to {MAX_TYPE_BYTES} bytes")
        encoded = encode(content)
        if len(encoded) > MAX_CONTENT_BYTES:
            raise TooLarge(f"account data have at most {MAX_CONTENT_BYTES} bytes")
        if type == IGNORED_USER_LIST and room_id is None:
            await self.database.write(put_ignored, user_id, encoded)
            return
        place = account_data.GLOBAL if room_id is None else room_id
        await self.database.write(account_data.put, user_id, place, type, encoded)

    async def get(self, requester: Requester, user_id: UserID, room_id: RoomID | None, type: str) -> bytes:
        """The content as JSON.

        Errors: Forbidden for another user; NotFound.
        """
        check_owner(requester, user_id)
        content = await self.database.read(content_of, user_id, room_id, type)
        if content is None:
            raise NotFound("Account data not found.")
        return content


def check_owner(requester: Requester, user_id: UserID) -> None:
    """Users see and change their own data only. Errors: Forbidden."""
    if requester.user_id != user_id:
        raise Forbidden("The data of other users are not yours")


def content_of(tx: ReadTransaction, user_id: UserID, room_id: RoomID | None, type: str) -> bytes | None:
    """The content of account data, those included that the server makes; `None` if there are none."""
    if type == "m.push_rules" and room_id is None:
        return encode(push_rules.content_of(tx, user_id))
    return account_data.of(tx, user_id, account_data.GLOBAL if room_id is None else room_id, type)
