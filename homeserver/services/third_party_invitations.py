"""Inviting people by their e-mail addresses. Spec: client-server API, "Third-party invites", "Server behaviour"."""

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog
from twisted.internet.defer import Deferred, gatherResults

from homeserver.clients.errors import RemoteError
from homeserver.clients.identity import Access, StoredInvite
from homeserver.core.auth_events import member_of
from homeserver.core.errors import (
    Forbidden,
    InvalidParam,
    MatrixError,
    MissingParam,
    ThreepidMediumNotSupported,
)
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.core.requester import Requester
from homeserver.core.room_summaries import KEYS, RoomSummary
from homeserver.core.threepids import EMAIL, Threepid, canonical
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.current_state import CurrentState, current_content
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_changes import check_not_suspended
from homeserver.rooms.power import levels_in
from homeserver.runtime.clock import Clock
from homeserver.services.identity_servers import IdentityServers, error_of
from homeserver.services.memberships import Memberships
from homeserver.services.room_state import set_state
from homeserver.storage import profiles

INVITE: Final = "m.room.third_party_invite"

MOST_AT_ONCE: Final = 20

_log = structlog.get_logger(__name__)


class Invitee(msgspec.Struct, frozen=True):
    """Who is to be invited, and the identity server that may know them."""

    threepid: Threepid
    access: Access


class ThirdPartyInvitations(msgspec.Struct, frozen=True):
    """Invites whom an identity server knows, and has it keep an invitation for whom it does not."""

    database: Database
    clock: Clock
    signer: Signer
    identity_servers: IdentityServers
    memberships: Memberships

    def invitee(
        self, id_server: str | None, id_access_token: str | None, medium: str | None, address: str | None
    ) -> Invitee:
        """Who is meant. Errors: MissingParam, InvalidParam; ServerNotTrusted."""
        if id_server is None or medium is None or address is None:
            raise MissingParam("`id_server`, `medium` and `address` are needed to invite without a user ID")
        access = self.identity_servers.access(id_server, id_access_token)
        return Invitee(canonical(medium, address), access)

    def invitees(self, listed: Sequence[tuple[str, str, str, str]]) -> list[Invitee]:
        """Who are meant with a new room. Errors: as `invitee`; InvalidParam if there are too many."""
        if len(listed) > MOST_AT_ONCE:
            raise InvalidParam(f"invite_3pid has at most {MOST_AT_ONCE} addresses")
        return [self.invitee(*each) for each in listed]

    async def invite_all(
        self, requester: Requester, room_id: RoomID, invitees: Sequence[Invitee], *, is_direct: bool
    ) -> None:
        """Invite all of them to a new room, which stays if one of them cannot be invited."""
        extra: JsonObject = {"is_direct": True} if is_direct else {}

        async def attempt(invitee: Invitee) -> None:
            try:
                await self.invite(requester, room_id, invitee, extra)
            except MatrixError as error:
                server = invitee.access.id_server
                _log.info("an invitation to a new room failed", server=server, reason=str(error))

        await gatherResults([Deferred.fromCoroutine(attempt(each)) for each in invitees])

    async def invite(
        self, requester: Requester, room_id: RoomID, invitee: Invitee, extra: JsonObject
    ) -> None:
        """Invite somebody; `extra` as in `Memberships`.

        Errors: NotFound; Forbidden, UserSuspended, before anybody is asked; those of the identity server;
        ThreepidMediumNotSupported for a telephone number that it does not know; Unknown (502); as
        `Memberships.invite`.
        """
        client, access = self.identity_servers.client, invitee.access
        invitation = await self.database.read(
            prepare, requester, room_id, invitee.threepid, self.signer.server_name
        )
        try:
            found = await client.find(access, invitee.threepid)
            if found is None:
                if invitee.threepid.medium != EMAIL:
                    raise ThreepidMediumNotSupported("Nobody is known by that telephone number")
                stored = await client.store_invite(access, invitation)
        except RemoteError as error:
            raise error_of(error) from error
        if found is not None:
            await self.memberships.invite(requester, room_id, found, extra)
            return
        await self._state(requester, room_id, stored)

    async def _state(self, requester: Requester, room_id: RoomID, stored: StoredInvite) -> None:
        """Put the invitation into the room."""
        await self.database.write(
            set_state,
            self.signer,
            requester,
            room_id,
            (INVITE, stored.token),
            stored.content,
            now_ts=self.clock.now_ts(),
        )


def prepare(
    tx: ReadTransaction, requester: Requester, room_id: RoomID, threepid: Threepid, server_name: ServerName
) -> JsonObject:
    """What the identity server is told of the invitation. Errors: NotFound, Forbidden, UserSuspended."""
    check_not_suspended(tx, requester.user_id)
    state = CurrentState.of(tx, room_id, server_name)
    if current_content(state, member_of(requester.user_id)).get("membership") != "join":
        raise Forbidden("You are not joined to this room")
    levels = levels_in(state)
    if not levels.user_level(requester.user_id) >= levels.invite:
        raise Forbidden("You do not have the power to invite")
    summary = RoomSummary.of({key: event.content for key, event in state.state_events(KEYS).items()})
    profile = profiles.of(tx, requester.user_id)
    told = {
        "room_alias": summary.canonical_alias,
        "room_avatar_url": summary.avatar_url,
        "room_join_rules": summary.join_rule,
        "room_name": summary.name,
        "room_type": summary.room_type,
        "sender_display_name": profile.get(DISPLAY_NAME),
        "sender_avatar_url": profile.get(AVATAR_URL),
    }
    return {
        "medium": threepid.medium,
        "address": threepid.address,
        "room_id": room_id,
        "sender": requester.user_id,
        **{name: value for name, value in told.items() if isinstance(value, str)},
    }
