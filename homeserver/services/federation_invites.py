"""Other servers invite users of this one. Spec: server-server API, "Inviting to a room"."""

import msgspec

from homeserver.core.errors import Forbidden, IncompatibleRoomVersion, InvalidParam, UnsupportedRoomVersion
from homeserver.core.event import Event
from homeserver.core.hashes import has_content_hash
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject, JsonValue, canonical, decode_object
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.core.signing import add_signature
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms import invitations
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_events import MEMBER
from homeserver.rooms.out_of_band import OutOfBand, is_id_taken, record
from homeserver.rooms.pdu_checks import PduChecks, RefusedPdu
from homeserver.runtime.clock import Clock
from homeserver.services import server_acls
from homeserver.services.invite_states import InviteStates
from homeserver.storage import rooms, users

OLD_VERSIONS = ("1", "2")
"""The room versions that invitations by version 1 of the endpoint can be of."""


class Invitation(msgspec.Struct, frozen=True):
    """An invite event as `origin` sent it to `room_id` and `event_id`; `room_state` is what it tells of the room."""

    origin: ServerName
    room_id: RoomID
    event_id: EventID
    room_version: str
    pdu: JsonObject
    room_state: JsonValue


class FederationInvites(msgspec.Struct, frozen=True):
    """Takes invitations for users of this server."""

    database: Database
    clock: Clock
    signer: Signer
    checks: PduChecks
    states: InviteStates

    async def receive(self, invitation: Invitation) -> bytes:
        """Show the invitation to its user; gives the event, signed by this server too, as JSON.

        Errors: IncompatibleRoomVersion; InvalidParam, MissingParam for what is no such invitation; Forbidden,
        InviteBlocked if the user cannot be invited.
        """
        version = _version(invitation.room_version)
        (checked,) = await self.checks.check([invitation.pdu], version)
        if isinstance(checked, RefusedPdu):
            raise InvalidParam(f"The event cannot be accepted: {checked.error.message}")
        if not has_content_hash(invitation.pdu):
            raise InvalidParam("The event's hash is wrong")
        check_invite(checked.event, invitation, self.signer.server_name)
        stripped = await self.states.of_invite(invitation.room_state, invitation.room_id, version)
        own, key = self.signer.server_name, self.signer.key
        signed = add_signature(decode_object(checked.data), version, own, key)
        event = Event.from_pdu(signed, version, event_id=checked.event.event_id)
        news = OutOfBand(event, canonical(signed), stripped)
        await self.database.write(take_invite, news, invitation.origin, own, now_ts=self.clock.now_ts())
        return news.data


def old_version(room_state: JsonValue) -> str:
    """The room version of an invitation that does not say: what its create event says, if that can be."""
    for event in room_state if isinstance(room_state, list) else ():
        content = event.get("content") if isinstance(event, dict) else None
        if isinstance(event, dict) and event.get("type") == "m.room.create" and isinstance(content, dict):
            stated = content.get("room_version")
            if isinstance(stated, str) and stated in OLD_VERSIONS:
                return stated
    return OLD_VERSIONS[0]


def check_invite(event: Event, invitation: Invitation, server_name: ServerName) -> None:
    """The event is an invitation of a user of this server, `server_name`, by one of the origin's.

    Errors: InvalidParam.
    """
    if event.room_id != invitation.room_id:
        raise InvalidParam("The event is of another room than the path says")
    if event.event_id != invitation.event_id:
        raise InvalidParam(f"The event's ID is {event.event_id}, and not that in the path")
    if event.type != MEMBER or event.content.get("membership") != "invite":
        raise InvalidParam("The event is not an invitation")
    if server_of(event.sender) != invitation.origin:
        raise InvalidParam("The event's sender is a user of another server")
    if event.state_key is None or server_of(UserID(event.state_key)) != server_name:
        raise InvalidParam("The invited user is not of this server")


def take_invite(
    tx: WriteTransaction, news: OutOfBand, origin: ServerName, server_name: ServerName, *, now_ts: int
) -> None:
    """Note the invitation, if its user accepts it. Errors: Forbidden, InviteBlocked; InvalidParam for a taken ID.

    In a room that this server is in, the event becomes valid by coming with a transaction, as any other.
    """
    room = rooms.of(tx, news.event.room_id)
    if room is not None and room.is_held and not server_acls.is_allowed(tx, room, origin):
        raise Forbidden("Your server is banned from this room")
    if users.find(tx, news.user_id) is None:
        raise Forbidden(f"{news.user_id} is no user of this server")
    if is_id_taken(tx, news.event):
        raise InvalidParam("Another event has this ID")
    invitations.check_accepts(tx, news.user_id)
    record(tx, news, server_name, now_ts=now_ts)


def _version(identifier: str) -> RoomVersion:
    try:
        return get_room_version(identifier)
    except UnsupportedRoomVersion:
        raise IncompatibleRoomVersion(
            f"This server does not know room version {identifier}", room_version=identifier
        ) from None
