"""Rejecting invitations to, and taking back knocks on, rooms that this server is not in.

Spec: server-server API, "Leaving Rooms (Rejecting Invites)".
"""

import secrets
from collections.abc import Iterable

import msgspec
import structlog

from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.event import Event
from homeserver.core.event_format import MAX_AUTH_EVENTS, max_depth
from homeserver.core.hashes import encode_base64, reference_hash
from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.json import JsonObject, JsonValue, decode_object
from homeserver.core.room_versions import DEFAULT_ROOM_VERSION, RoomVersion, get_room_version
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_events import Place, Wanted, build, given_hashes
from homeserver.rooms.out_of_band import OutOfBand, record
from homeserver.services.remote_handshakes import RemoteHandshakes
from homeserver.storage import events, memberships, rooms

_log = structlog.get_logger(__name__)


class RemoteLeaves(msgspec.Struct, frozen=True):
    """Leaves rooms by way of servers that are in them."""

    database: Database
    handshakes: RemoteHandshakes

    async def leave(self, room_id: RoomID, wanted: Wanted, servers: Iterable[ServerName]) -> None:
        """Reject the invitation, or take back the knock; if no server helps, for this server's users at least.

        Nothing happens to who has left already.
        Errors: NotFound for an unknown room; Forbidden if there is nothing to leave; BadJson, TooLarge for the content.
        """
        own, now_ts = self.handshakes.signer.server_name, self.handshakes.clock.now_ts()

        async def attempt(server_name: ServerName) -> OutOfBand:
            made = await self.handshakes.make(server_name, room_id, wanted)
            await self.handshakes.send(made)
            return OutOfBand(made.event, made.data)

        local = await self.database.read(
            leave_of_our_own, self.handshakes.signer, room_id, wanted, now_ts=now_ts, token=_token()
        )
        if local is None:
            return
        try:
            news = await self.handshakes.try_each(servers, attempt)
        except MatrixError as error:
            _log.info("the room was not told of a rejection", room=room_id, reason=str(error))
            news = local
        await self.database.write(record, news, own, now_ts=now_ts)


def leave_of_our_own(
    tx: ReadTransaction, signer: Signer, room_id: RoomID, wanted: Wanted, *, now_ts: int, token: str
) -> OutOfBand | None:
    """A leave event that follows upon the invitation or the knock; for no other server.

    None for who has left already. Errors: NotFound for an unknown room; Forbidden if there is nothing to leave.
    """
    room = rooms.of(tx, room_id)
    if room is None:
        raise NotFound("Unknown room")
    mine = memberships.of(tx, room.room_nid, wanted.user_id)
    if mine is not None and mine.membership == "leave":
        return None
    if mine is None or mine.membership not in ("invite", "knock"):
        raise Forbidden("You are neither in this room nor invited to it")
    stored = events.of_nids(tx, [mine.event_nid])[mine.event_nid]
    pdu = decode_object(stored.pdu)
    version = _version_of(pdu, get_room_version(room.version))
    before = Event.from_pdu(pdu, version, event_id=stored.event_id)
    cited = [*before.auth_events, before.event_id][-MAX_AUTH_EVENTS:]
    hashes = None
    if version.event_references_with_hashes:
        own_hash = encode_base64(reference_hash(before.pdu, version))
        hashes = given_hashes(before.pdu["auth_events"]) | {before.event_id: own_hash}
    depth = min(before.depth + 1, max_depth(version))
    place = Place(room_id, version, [before.event_id], cited, depth, hashes)
    event, data = build(place, wanted, signer, now_ts=now_ts, token=token)
    return OutOfBand(event, data)


def _version_of(pdu: JsonObject, stated: RoomVersion) -> RoomVersion:
    """The stated room version, or else one in which events are written as this one.

    Each invitation says of which version its room is, and not all need to say the same.
    """
    references = [*_listed(pdu["prev_events"]), *_listed(pdu["auth_events"])]
    has_hashes = any(isinstance(each, list) for each in references)
    if not references or has_hashes == stated.event_references_with_hashes:
        return stated
    return get_room_version("1" if has_hashes else DEFAULT_ROOM_VERSION.identifier)


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _token() -> str:
    return secrets.token_urlsafe(9)


def inviter_of(tx: ReadTransaction, room_id: RoomID, user_id: UserID) -> UserID | None:
    """Who invited the user to the room; None if the user is not invited."""
    room_nid = rooms.nid_of(tx, room_id)
    mine = None if room_nid is None else memberships.of(tx, room_nid, user_id)
    return mine.sender if mine is not None and mine.membership == "invite" else None
