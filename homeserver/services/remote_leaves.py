"""Rejecting invitations to, and taking back knocks on, rooms that this server is not in.

Spec: server-server API, "Leaving Rooms (Rejecting Invites)".
"""

import secrets
from collections.abc import Iterable

import attrs
import structlog

from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.event import Event
from homeserver.core.event_format import MAX_AUTH_EVENTS, max_depth
from homeserver.core.hashes import encode_base64, reference_hash
from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.room_versions import get_room_version
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.draft import Signer
from homeserver.rooms.membership_events import Place, Wanted, build, given_hashes
from homeserver.rooms.out_of_band import OutOfBand, record
from homeserver.services.remote_handshakes import RemoteHandshakes
from homeserver.storage import events, memberships, rooms

_log = structlog.get_logger(__name__)


@attrs.frozen
class RemoteLeaves:
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
    version = get_room_version(room.version)
    before: Event = events.parsed(tx, [mine.event_nid], version)[mine.event_nid]
    cited = [*before.auth_events, before.event_id][-MAX_AUTH_EVENTS:]
    hashes = None
    if version.event_references_with_hashes:
        own_hash = encode_base64(reference_hash(before.pdu, version))
        hashes = given_hashes(before.pdu["auth_events"]) | {before.event_id: own_hash}
    depth = min(before.depth + 1, max_depth(version))
    place = Place(room_id, version, [before.event_id], cited, depth, hashes)
    event, data = build(place, wanted, signer, now_ts=now_ts, token=token)
    return OutOfBand(event, data)


def _token() -> str:
    return secrets.token_urlsafe(9)


def inviter_of(tx: ReadTransaction, room_id: RoomID, user_id: UserID) -> UserID | None:
    """Who invited the user to the room; None if the user is not invited."""
    room_nid = rooms.nid_of(tx, room_id)
    mine = None if room_nid is None else memberships.of(tx, room_nid, user_id)
    return mine.sender if mine is not None and mine.membership == "invite" else None
