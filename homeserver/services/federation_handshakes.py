"""What joins, leaves and knocks of other servers' users have in common, on the side of a server in the room.

The other server asks for a template, completes and signs it, and sends the event. Spec: server-server API, "Joining
Rooms", "Knocking upon a room", "Leaving Rooms".
"""

from collections.abc import Collection

import msgspec

from homeserver.core.errors import Forbidden, IncompatibleRoomVersion, InvalidParam, NotFound
from homeserver.core.event import Event
from homeserver.core.hashes import has_content_hash
from homeserver.core.identifiers import EventID, RoomID, ServerName, UserID, server_of
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import get_room_version
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.current_state import CurrentState
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_events import MEMBER, Wanted, place_for, template
from homeserver.rooms.pdu_checks import CheckedPdu, PduChecks, RefusedPdu
from homeserver.rooms.receive import Receiver
from homeserver.rooms.restricted_joins import authoriser_for
from homeserver.runtime.clock import Clock
from homeserver.services import server_acls
from homeserver.services.admissions import admit

AUTHORISER = "join_authorised_via_users_server"


class Asked(msgspec.Struct, frozen=True):
    """A server asks for its user's event of this membership; `versions` are the room versions that it knows.

    `None` for `versions` where it need not say.
    """

    origin: ServerName
    room_id: RoomID
    user_id: UserID
    membership: str
    versions: Collection[str] | None


class Submitted(msgspec.Struct, frozen=True):
    """An event of this membership, as a server sent it to `room_id` and `event_id`."""

    origin: ServerName
    room_id: RoomID
    event_id: EventID
    membership: str
    pdu: JsonObject


class FederationHandshakes(msgspec.Struct, frozen=True):
    """The steps that the handshakes share."""

    database: Database
    clock: Clock
    signer: Signer
    checks: PduChecks
    receiver: Receiver

    async def template(self, asked: Asked) -> JsonObject:
        """The room's version, and the event for the other server to complete.

        Errors: Forbidden if the user is of another server or may not do this, or the server may not be in the
        room; NotFound if this server is not; IncompatibleRoomVersion; for a join that needs to be vouched for
        UnableToAuthoriseJoin, UnableToGrantJoin.
        """
        return await self.database.read(make_template, asked, self.signer, now_ts=self.clock.now_ts())

    async def check(self, submitted: Submitted) -> CheckedPdu:
        """The event, if it is what it must be, whether or not the room admits it.

        Errors: NotFound, Forbidden, as `template`; InvalidParam.
        """
        version = get_room_version(
            await self.database.read(
                version_for, submitted.origin, submitted.room_id, self.signer.server_name
            )
        )
        (checked,) = await self.checks.check([submitted.pdu], version)
        if isinstance(checked, RefusedPdu):
            raise InvalidParam(f"The event cannot be accepted: {checked.error.message}")
        if not has_content_hash(submitted.pdu):
            raise InvalidParam("The event's hash is wrong")
        check_is_own(checked.event, submitted)
        return checked

    async def take_in(self, submitted: Submitted, checked: CheckedPdu) -> None:
        """Make the event part of the room, and send it on to the other servers. Errors: see `admit`."""
        await admit(self.receiver, checked, origin=submitted.origin, is_outbound=True)


def enter(tx: ReadTransaction, origin: ServerName, room_id: RoomID, server_name: ServerName) -> CurrentState:
    """The state of a room that this server, `server_name`, is in, for a server that may be there.

    Errors: NotFound, Forbidden. Spec: server-server API, "Server Access Control Lists (ACLs)".
    """
    state = CurrentState.of(tx, room_id, server_name)
    if not server_acls.is_allowed(tx, state.room, origin):
        raise Forbidden("Your server is banned from this room")
    if state.room.is_partial:
        raise NotFound("This server does not know the members of that room yet")
    return state


def version_for(tx: ReadTransaction, origin: ServerName, room_id: RoomID, server_name: ServerName) -> str:
    """The room's version, for a server that may be there. Errors: NotFound, Forbidden."""
    return enter(tx, origin, room_id, server_name).room.version


def make_template(tx: ReadTransaction, asked: Asked, signer: Signer, *, now_ts: int) -> JsonObject:
    """The answer to a `make_...` request. Errors: see `FederationHandshakes.template`."""
    if server_of(asked.user_id) != asked.origin:
        raise Forbidden("A server can ask this for its own users only")
    state = enter(tx, asked.origin, asked.room_id, signer.server_name)
    version = state.version.identifier
    if asked.versions is not None and version not in asked.versions:
        raise IncompatibleRoomVersion("Your server does not know the room's version", room_version=version)
    content: JsonObject = {"membership": asked.membership}
    if asked.membership == "join":
        authoriser = authoriser_for(tx, state, asked.user_id, signer.server_name)
        if authoriser is not None:
            content[AUTHORISER] = authoriser
    wanted = Wanted(asked.user_id, asked.user_id, content)
    event = template(place_for(state, wanted), wanted, now_ts=now_ts)
    return {"room_version": version, "event": event | {"origin": signer.server_name}}


def check_is_own(event: Event, submitted: Submitted) -> None:
    """The event is about the sender, a user of the server that sent it, and where it says. Errors: InvalidParam."""
    if event.room_id != submitted.room_id:
        raise InvalidParam("The event is of another room than the path says")
    if event.event_id != submitted.event_id:
        raise InvalidParam(f"The event's ID is {event.event_id}, and not that in the path")
    if event.type != MEMBER:
        raise InvalidParam("The event is not a membership event")
    if event.content.get("membership") != submitted.membership:
        raise InvalidParam(f"The event's membership is not {submitted.membership}")
    if event.state_key != event.sender:
        raise InvalidParam("The event is not about its sender")
    if server_of(event.sender) != submitted.origin:
        raise InvalidParam("The event's sender is a user of another server")
