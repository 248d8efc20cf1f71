"""Invitations by e-mail address and the like, redeemed by the user to whom the address turned out to belong.

The proof is an object that the identity server signed with a key that the invitation in the room names; the auth rules
check it. Whether the key is still valid is asked by the inviter's server alone, so that all others agree. Spec:
server-server API, "Third-party invites"; client-server API, "Third-party invites", "Server behaviour".
"""

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.auth_rules import InviteKey, signing_key
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound, Unknown
from homeserver.core.identifiers import (
    RoomID,
    ServerName,
    UserID,
    localpart_of,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    server_of,
)
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms import invitations
from homeserver.rooms.current_state import CurrentState, current_content
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_events import MEMBER, Wanted, build_here
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.receive import Receiver
from homeserver.runtime.clock import Clock
from homeserver.services.admissions import admit
from homeserver.services.federation_handshakes import enter
from homeserver.services.identity_servers import IdentityServers
from homeserver.services.remote_errors import error_for_client
from homeserver.services.remote_invites import NewInvite, RemoteInvites, new_invite
from homeserver.storage import users

MOST_INVITES: Final = 20
"""Of one address that are redeemed at once: anybody can call the endpoint, and each may be a request to a server."""

PATIENCE_MS: Final = 30_000

_log = structlog.get_logger(__name__)


class Redemption(msgspec.Struct, frozen=True):
    """The invitation by third-party identifier of `sender` is redeemed by `user_id`; `signed` is the proof."""

    room_id: RoomID
    sender: UserID
    user_id: UserID
    signed: JsonObject

    @classmethod
    def of(cls, room_id: RoomID, sender: JsonValue, user_id: JsonValue, signed: JsonValue) -> "Redemption":
        """Read what came as JSON. Errors: InvalidParam."""
        if not (isinstance(sender, str) and isinstance(user_id, str) and isinstance(signed, dict)):
            raise InvalidParam("sender, mxid and signed are needed")
        if signed.get("mxid") != user_id or not isinstance(signed.get("token"), str):
            raise InvalidParam("the proof is about another user, or has no token")
        return cls(room_id, parse_user_id(sender), parse_user_id(user_id), signed)

    def wanted(self, display_name: str) -> Wanted:
        """The invite event that redeems the invitation."""
        proof: JsonObject = {"display_name": display_name, "signed": self.signed}
        content: JsonObject = {"membership": "invite", "third_party_invite": proof}
        return Wanted(self.sender, self.user_id, content)


class ThirdPartyInvites(msgspec.Struct, frozen=True):
    """Has invitations by third-party identifier redeemed."""

    database: Database
    clock: Clock
    signer: Signer
    client: FederationClient
    invites: RemoteInvites
    receiver: Receiver
    identity_servers: IdentityServers

    async def exchange(self, origin: ServerName, room_id: RoomID, event: JsonObject) -> None:
        """Invite a user of the other server, in the name of the user here who invited the identifier.

        Errors: NotFound if this server is not in the room; InvalidParam; Forbidden if the proof is not good; Unknown
        (502) if the identity server does not answer; else see `RemoteInvites.send`.
        """
        content = event.get("content")
        invite = content.get("third_party_invite") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(invite, dict):
            raise InvalidParam("the event redeems no third-party invite")
        if event.get("room_id") != room_id:
            raise InvalidParam("the event is of another room than the path says")
        if event.get("type") != MEMBER or content.get("membership") != "invite":
            raise InvalidParam("the event is not an invitation")
        redemption = Redemption.of(room_id, event.get("sender"), event.get("state_key"), invite.get("signed"))
        made, key = await self.database.write(
            make_exchanged, self.signer, origin, redemption, now_ts=self.clock.now_ts(), token=_token()
        )
        await self.identity_servers.check_key(key)
        await self.invites.send(made)

    async def bound(self, user_id: UserID, invites: Sequence[JsonObject]) -> None:
        """Redeem the invitations of an identifier that turned out to be the user's.

        One that cannot be redeemed does not hold up the others. Errors: NotFound if there is no such user.
        """
        if await self.database.read(users.find, user_id) is None:
            raise NotFound("There is no such user here")
        for invite in invites[:MOST_INVITES]:
            room_id = invite.get("room_id")
            try:
                if not isinstance(room_id, str):
                    raise InvalidParam("room_id is needed")
                redemption = Redemption.of(
                    parse_room_id(room_id), invite.get("sender"), invite.get("mxid"), invite.get("signed")
                )
                if redemption.user_id != user_id:
                    raise InvalidParam("the invitation is another user's")
                await self.redeem(redemption)
            except MatrixError as error:
                _log.info("a third-party invite was not redeemed", user=user_id, reason=str(error))

    async def redeem(self, redemption: Redemption) -> None:
        """Have a user here invited by the inviter's server, in whose user's name the event is.

        Errors: Forbidden if the proof is not good, InviteBlocked; NotFound; as other servers say; Unknown (502), also
        if the identity server does not answer.
        """
        if server_of(redemption.sender) != self.signer.server_name:
            await self._ask(redemption)
            return
        checked, key = await self.database.write(
            make_redeemed, self.signer, redemption, now_ts=self.clock.now_ts(), token=_token()
        )
        await self.identity_servers.check_key(key)
        await admit(self.receiver, checked, origin=self.signer.server_name, is_outbound=True)

    async def _ask(self, redemption: Redemption) -> None:
        """Have the inviter's server invite the user."""
        server_name = parse_server_name(server_of(redemption.sender) or "")
        wanted = redemption.wanted(localpart_of(redemption.user_id))
        path = federation_path("v1", "exchange_third_party_invite", redemption.room_id)
        body: JsonObject = {
            "type": MEMBER,
            "room_id": redemption.room_id,
            "sender": wanted.sender,
            "state_key": wanted.user_id,
            "content": wanted.content,
        }
        try:
            await self.client.put(server_name, path, body, patience_ms=PATIENCE_MS)
        except RemoteError as error:
            raise error_for_client(error) from error


def make_exchanged(
    tx: ReadTransaction,
    signer: Signer,
    origin: ServerName,
    redemption: Redemption,
    *,
    now_ts: int,
    token: str,
) -> tuple[NewInvite, InviteKey]:
    """The invite event for a user of the server that asks, and the key of the proof.

    Errors: see `ThirdPartyInvites.exchange`.
    """
    state = enter(tx, origin, redemption.room_id, signer.server_name)
    if server_of(redemption.user_id) != origin:
        raise Forbidden("A server can ask this for its own users only")
    if server_of(redemption.sender) != signer.server_name:
        raise Forbidden("The invitation is not by a user of this server")
    issued = _issued(state, redemption)
    wanted = redemption.wanted(_display_name(issued, redemption))
    return new_invite(state, wanted, signer, now_ts=now_ts, token=token), _key(issued, redemption)


def make_redeemed(
    tx: ReadTransaction, signer: Signer, redemption: Redemption, *, now_ts: int, token: str
) -> tuple[CheckedPdu, InviteKey]:
    """The invite event for a user here, signed by this server, and the key of the proof.

    Errors: NotFound if this server is not in the room; Forbidden, InviteBlocked.
    """
    state = CurrentState.of(tx, redemption.room_id, signer.server_name)
    if server_of(redemption.user_id) != signer.server_name:
        raise Unknown("The user is not of this server")
    issued = _issued(state, redemption)
    wanted = redemption.wanted(_display_name(issued, redemption))
    event, data = build_here(state, wanted, signer, now_ts=now_ts, token=token)
    invitations.check_accepts(tx, redemption.user_id)
    return CheckedPdu(event, data, frozenset({signer.server_name})), _key(issued, redemption)


def _issued(state: CurrentState, redemption: Redemption) -> JsonObject:
    """The content of the invitation in the room."""
    return current_content(state, ("m.room.third_party_invite", str(redemption.signed["token"])))


def _key(issued: JsonObject, redemption: Redemption) -> InviteKey:
    """The key of the invitation that the proof, which the auth rules have checked, is signed with."""
    key = signing_key(redemption.signed, issued)
    if key is None:
        raise Forbidden("The proof is signed by none of the keys of the invitation")
    return key


def _display_name(issued: JsonObject, redemption: Redemption) -> str:
    """What the invitation in the room calls the user."""
    stated = issued.get("display_name")
    return stated if isinstance(stated, str) else localpart_of(redemption.user_id)


def _token() -> str:
    return secrets.token_urlsafe(9)
