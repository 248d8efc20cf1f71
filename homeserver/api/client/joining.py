"""Client-server API, `joining.yaml`: joining rooms."""

from collections.abc import Sequence

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships
from homeserver.services.third_party_invites import Redemption, ThirdPartyInvites


class JoinRequest(msgspec.Struct):
    """Why the user joins, for all to read, and the proof of an invitation by e-mail address or the like."""

    reason: str | None = None
    third_party_signed: JsonObject | None = None


class JoinQuery(msgspec.Struct):
    """Servers that may be in the room; `server_name` is the old name of `via`."""

    via: list[str] = []
    server_name: list[str] = []


class JoinResponse(msgspec.Struct):
    """The room that was joined."""

    room_id: RoomID


class Joining(msgspec.Struct, frozen=True):
    """Joining rooms."""

    memberships: Memberships
    third_party_invites: ThirdPartyInvites

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/join", auth=Auth.GUEST_OK, limit=Limit.JOINS)
    async def join_room_by_id(self, requester: Requester, room_id: RoomID, body: JoinRequest) -> JoinResponse:
        """Join a room by its ID."""
        return await self._join(requester, room_id, body, [])

    @endpoint("POST", "/_matrix/client/v3/join/{room}", auth=Auth.USER, limit=Limit.JOINS)
    async def join_room(
        self, requester: Requester, room: str, body: JoinRequest, query: JoinQuery
    ) -> JoinResponse:
        """Join a room by its ID or one of its aliases."""
        return await self._join(requester, room, body, query.via or query.server_name)

    async def _join(
        self, requester: Requester, room: str, body: JoinRequest, via: Sequence[str]
    ) -> JoinResponse:
        signed = body.third_party_signed
        if signed is not None:
            room_id, _ = await self.memberships.find(room)
            redemption = Redemption.of(room_id, signed.get("sender"), requester.user_id, signed)
            await self.third_party_invites.redeem(redemption)
        extra: JsonObject = {} if body.reason is None else {"reason": body.reason}
        return JoinResponse(await self.memberships.join(requester, room, extra, via))
