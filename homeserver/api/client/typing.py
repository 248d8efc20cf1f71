"""Client-server API, `typing.yaml`: who is typing."""

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services import typing


class TypingState(msgspec.Struct):
    """Whether the user types, and for how many milliseconds."""

    typing: bool
    timeout: int | None = None


class Typing(msgspec.Struct, frozen=True):
    """The endpoint of typing notifications."""

    typing: typing.Typing

    @endpoint(
        "PUT", "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", auth=Auth.USER, limit=Limit.UPDATES
    )
    async def set_typing(
        self, requester: Requester, room_id: RoomID, user_id: UserID, body: TypingState
    ) -> JsonObject:
        """The requester types, or has stopped."""
        await self.typing.set(requester, user_id, room_id, is_typing=body.typing, timeout_ms=body.timeout)
        return {}
