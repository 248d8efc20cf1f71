"""Inviting users of other servers. Spec: server-server API, "Inviting to a room"."""

import secrets
from typing import Final

import msgspec

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.auth_events import member_of
from homeserver.core.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    MatrixError,
    Unknown,
    UnsupportedRoomVersion,
)
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, parse_server_name, server_of
from homeserver.core.json import JsonObject, JsonValue, decode_object
from homeserver.core.requester import Requester
from homeserver.core.room_versions import EventIdFormat
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.current_state import CurrentState, current_content
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_changes import check_account, content_of
from homeserver.rooms.membership_events import Wanted, build_here
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks
from homeserver.rooms.power import levels_in
from homeserver.rooms.receive import Receiver
from homeserver.runtime.clock import Clock
from homeserver.services.admissions import admit
from homeserver.services.federation_knocks import shown_to_outsiders
from homeserver.services.remote_errors import error_for_client

PATIENCE_MS: Final = 20_000
"""How long the other server may take: a client waits for the answer."""

MOST_BYTES: Final = 256 * 1024
"""Of the answer, which holds one event."""


class NewInvite(msgspec.Struct, frozen=True):
    """An invite event of ours, and the PDUs from which the invited user's server learns what the room is."""

    event: Event
    room_state: list[JsonValue]


class RemoteInvites(msgspec.Struct, frozen=True):
    """Invites users of other servers, who must agree."""

    database: Database
    clock: Clock
    signer: Signer
    client: FederationClient
    checks: PduChecks
    receiver: Receiver

    async def invite(
        self, requester: Requester, room_id: RoomID, user_id: UserID, extra: JsonObject
    ) -> EventID:
        """Invite a user of another server; gives the event, or the one by which the user is invited already.

        Errors: NotFound, Forbidden, GuestAccessForbidden, UserSuspended as for users of this server;
        Forbidden, InviteBlocked, UnsupportedRoomVersion if the other server refuses; Unknown (502) if it
        cannot be asked.
        """
        # A write, though nothing is written: only writes wait until the room's policy server has been asked.
        made = await self.database.write(
            make_invite,
            self.signer,
            requester,
            Wanted(requester.user_id, user_id, extra),
            room_id,
            now_ts=self.clock.now_ts(),
            token=secrets.token_urlsafe(9),
        )
        if isinstance(made, Event):
            return made.event_id
        return await self.send(made)

    async def send(self, made: NewInvite) -> EventID:
        """Have the invited user's server sign the event, and make it part of the room.

        Errors: as `invite`.
        """
        server_name = parse_server_name(server_of(UserID(made.event.state_key or "")) or "")
        try:
            answer = await self._ask(server_name, made)
        except RemoteError as error:
            raise _error_for_inviter(error) from error
        signed = await self._verified(server_name, made, answer.get("event"))
        # The room may have changed meanwhile.
        await admit(self.receiver, signed, origin=self.signer.server_name, is_outbound=True)
        return made.event.event_id

    async def _ask(self, server_name: ServerName, made: NewInvite) -> JsonObject:
        event, version = made.event, made.event.room_version
        body: JsonObject = {
            "event": event.pdu,
            "invite_room_state": made.room_state,
            "room_version": version.identifier,
        }
        try:
            return await self._put(server_name, "v2", event, body)
        except RemoteError as error:
            is_old = version.event_id_format is EventIdFormat.SERVER_ISSUED
            if not (is_old and error.status in (400, 404)):
                raise
        # "Senders which receive a 400 or 404 response to this endpoint should retry using the v1 API"
        unsigned: JsonObject = {"invite_room_state": made.room_state}
        return await self._put(server_name, "v1", event, event.pdu | {"unsigned": unsigned})

    async def _put(self, server_name: ServerName, version: str, event: Event, body: JsonObject) -> JsonObject:
        path = federation_path(version, "invite", event.room_id, event.event_id)
        return await self.client.put(server_name, path, body, patience_ms=PATIENCE_MS, most_bytes=MOST_BYTES)

    async def _verified(self, server_name: ServerName, made: NewInvite, answer: JsonValue) -> CheckedPdu:
        """Our event with the other server's signature: of its answer nothing else is used. Errors: Unknown."""
        pdu = dict(made.event.pdu)
        signatures = answer.get("signatures") if isinstance(answer, dict) else None
        theirs = signatures.get(server_name) if isinstance(signatures, dict) else None
        own = pdu["signatures"]
        if not isinstance(theirs, dict) or not isinstance(own, dict):
            raise Unknown("The other server has not signed the invitation", status=502)
        pdu["signatures"] = {**own, server_name: theirs}
        (checked,) = await self.checks.check([pdu], made.event.room_version)
        if not isinstance(checked, CheckedPdu) or checked.event.event_id != made.event.event_id:
            raise Unknown("The other server has not signed the invitation properly", status=502)
        return checked


def _error_for_inviter(error: RemoteError) -> MatrixError:
    """That a server does not know the room's version has, for who invites its users, a code of its own."""
    told = error_for_client(error)
    return UnsupportedRoomVersion(told.message) if isinstance(told, IncompatibleRoomVersion) else told


def make_invite(
    tx: ReadTransaction,
    signer: Signer,
    requester: Requester,
    wanted: Wanted,
    room_id: RoomID,
    *,
    now_ts: int,
    token: str,
) -> NewInvite | Event:
    """The invite event to be sent, or the one that there is. `wanted.content` is what the client wants in it.

    Errors: see `RemoteInvites.invite`.
    """
    user_id = wanted.user_id
    check_account(tx, requester, user_id, "invite")
    state = CurrentState.of(tx, room_id, signer.server_name)
    before = state.state_event(member_of(user_id))
    if before is not None and before.content.get("membership") == "invite":
        _check_may_invite(state, requester)
        return before
    content = content_of(tx, requester, user_id, "invite", wanted.content)
    return new_invite(
        state, msgspec.structs.replace(wanted, content=content), signer, now_ts=now_ts, token=token
    )


def new_invite(state: CurrentState, wanted: Wanted, signer: Signer, *, now_ts: int, token: str) -> NewInvite:
    """The invite event as it would stand now. Errors: Forbidden if the auth rules refuse it; BadJson, TooLarge."""
    if server_of(wanted.user_id) == signer.server_name:
        raise InvalidParam("The user is of this server")
    event, _ = build_here(state, wanted, signer, now_ts=now_ts, token=token)
    return NewInvite(event, [decode_object(pdu) for pdu in shown_to_outsiders(state.tx, state)])


def _check_may_invite(state: CurrentState, requester: Requester) -> None:
    """There is no event for the auth rules to judge. Errors: Forbidden."""
    levels = levels_in(state)
    if current_content(state, member_of(requester.user_id)).get("membership") != "join":
        raise Forbidden("You are not joined to this room")
    if not levels.user_level(requester.user_id) >= levels.invite:
        raise Forbidden("You do not have the power to invite")
