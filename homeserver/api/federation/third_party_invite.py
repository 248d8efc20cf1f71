"""Server-server API, `third_party_invite.yaml`: invitations by third-party identifier are redeemed."""

import msgspec

from homeserver.core.identifiers import RoomID, ServerName, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.third_party_invites import ThirdPartyInvites


class BoundIdentifier(msgspec.Struct):
    """An identifier, the user to whom it belongs now, and the invitations that wait for it."""

    medium: str
    address: str
    mxid: str
    invites: list[JsonObject]


class ThirdPartyInvite(msgspec.Struct, frozen=True):
    """Invitations by third-party identifier are redeemed."""

    third_party_invites: ThirdPartyInvites

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/exchange_third_party_invite/{room_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def exchange_third_party_invite(
        self, origin: ServerName, room_id: RoomID, body: JsonObject
    ) -> JsonObject:
        """Invite a user of the other server to whom an invited identifier belongs."""
        await self.third_party_invites.exchange(origin, room_id, body)
        return {}

    @endpoint("PUT", "/_matrix/federation/v1/3pid/onbind", auth=Auth.NONE, limit=Limit.VALIDATION)
    async def on_bind_third_party_identifier(self, body: BoundIdentifier) -> JsonObject:
        """Redeem the invitations of an identifier that now belongs to a user here."""
        await self.third_party_invites.bound(parse_user_id(body.mxid), body.invites)
        return {}
