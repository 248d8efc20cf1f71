"""Tags of rooms, kept as the room account data `m.tag`. Spec: client-server API, "Room Tagging"."""

from typing import Final

import msgspec

from homeserver.core.errors import BadJson, InvalidParam, TooLarge
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, decode_object, encode
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services.account_data import check_owner
from homeserver.storage import account_data

TAGS: Final = "m.tag"
MAX_NAME_BYTES: Final = 255
MAX_BYTES: Final = 65_536
"""All tags of a room together, as JSON."""


class Tags(msgspec.Struct, frozen=True):
    """Tags rooms for their users."""

    database: Database

    async def of_room(self, requester: Requester, user_id: UserID, room_id: RoomID) -> JsonObject:
        """The tags of a room: an object per tag.

        Errors: Forbidden for another user.
        """
        check_owner(requester, user_id)
        return await self.database.read(tags_of, user_id, room_id)

    async def put(
        self, requester: Requester, user_id: UserID, room_id: RoomID, tag: str, data: JsonObject
    ) -> None:
        """Tag a room, or replace the data of the tag that it has.

        Errors: Forbidden for another user; InvalidParam for a name or an `order` out of bounds; BadJson;
        TooLarge.
        """
        check_owner(requester, user_id)
        if not 0 < len(tag.encode()) <= MAX_NAME_BYTES:
            raise InvalidParam(f"the name of a tag has 1 to {MAX_NAME_BYTES} bytes")
        _check_order(data)
        await self.database.write(set_tag, user_id, room_id, tag, data)

    async def remove(self, requester: Requester, user_id: UserID, room_id: RoomID, tag: str) -> None:
        """Take a tag from a room that may have it.

        Errors: Forbidden for another user.
        """
        check_owner(requester, user_id)
        await self.database.write(remove_tag, user_id, room_id, tag)


def tags_of(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> JsonObject:
    """The room's tags, empty if there are none."""
    content = account_data.of(tx, user_id, room_id, TAGS)
    return {} if content is None else _tags(content)


def set_tag(tx: WriteTransaction, user_id: UserID, room_id: RoomID, tag: str, data: JsonObject) -> None:
    """Add or replace a tag. Errors: TooLarge."""
    tags = _tags(account_data.lock(tx, user_id, room_id, TAGS))
    encoded = encode({"tags": {**tags, tag: data}})
    if len(encoded) > MAX_BYTES:
        raise TooLarge(f"the tags of a room have at most {MAX_BYTES} bytes")
    account_data.put(tx, user_id, room_id, TAGS, encoded)


def remove_tag(tx: WriteTransaction, user_id: UserID, room_id: RoomID, tag: str) -> None:
    """Remove a tag, if it is there."""
    if tag not in tags_of(tx, user_id, room_id):
        return
    tags = _tags(account_data.lock(tx, user_id, room_id, TAGS))
    tags.pop(tag, None)
    account_data.put(tx, user_id, room_id, TAGS, encode({"tags": tags}))


def _tags(content: bytes) -> JsonObject:
    """The tags in the content of `m.tag`, which clients may have set to anything."""
    tags = decode_object(content).get("tags")
    return tags if isinstance(tags, dict) else {}


def _check_order(data: JsonObject) -> None:
    order = data.get("order")
    if order is None:
        return
    if isinstance(order, bool) or not isinstance(order, int | float):
        raise BadJson("$.order: a number is wanted")
    if not 0 <= order <= 1:
        raise InvalidParam("order must be between 0 and 1")
