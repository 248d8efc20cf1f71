"""A room of one of our servers in which a peer takes part, by transactions alone."""

from typing import Any

from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import decode_object
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, rooms
from tests.api.server import Client
from tests.federation.harness import FederatedServer
from tests.federation.peer import Peer
from tests.rooms.signed_rooms import SignedRoom


def timeline(tx: ReadTransaction, room_id: RoomID) -> tuple[str, list[bytes]]:
    """The room's version, and its events in the order in which the server got them."""
    room = rooms.of(tx, room_id)
    assert room is not None
    page = events.page(
        tx, room.room_nid, after=0, newest=tx.stream_row().position, most=1_000, order="oldest first"
    )
    return room.version, [event.pdu for event in page]


async def catch_up(room: SignedRoom, server: FederatedServer) -> None:
    """Let the peer's copy of the room know what the server has sent."""
    _, pdus = await server.running.server.database.read(timeline, room.room_id)
    for pdu in pdus:
        event = Event.from_pdu(decode_object(pdu), room.version)
        if event.event_id not in room.events:
            room.add(event, room.before(event.prev_events))
        # What the peer does next happens later: where states are resolved, that may decide.
        room.ts = max(room.ts, event.origin_server_ts)


async def shared_room(
    server: FederatedServer, peer: Peer, alice: Client, version: str = "11", **options: Any
) -> SignedRoom:
    """A public room of Alice, on `server`, which a user of the peer has joined."""
    room_id = await alice.create_room(preset="public_chat", room_version=version, **options)
    room = SignedRoom(get_room_version(version), RoomID(room_id))
    room.signers = {peer.server_name: peer.key, server.server_name: server.key}
    await catch_up(room, server)
    room.join(mallory(peer))
    results = await send(room, server, peer, room.last)
    assert results == {room.last.event_id: {}}
    return room


def mallory(peer: Peer) -> UserID:
    """A user of the peer."""
    return UserID(f"@mallory:{peer.server_name}")


async def send(room: SignedRoom, server: FederatedServer, peer: Peer, *sent: Event, **options: Any) -> Any:
    """Send events in a transaction; gives the results by event ID."""
    answer = await peer.send(server.server_name, [room.pdu(event) for event in sent], **options)
    return answer.ok()["pdus"]


def tell(room: SignedRoom, peer: Peer) -> None:
    """Let the peer answer questions about the room honestly."""

    def missing(heard: Any) -> Any:
        body = heard.json
        found: dict[Any, Event] = {}
        level = [prev for each in body["latest_events"] for prev in room.events[each].prev_events]
        while level and len(found) < body["limit"]:
            level = [each for each in level if each not in body["earliest_events"]]
            found |= {each: room.events[each] for each in level}
            level = [prev for each in level for prev in room.events[each].prev_events]
        return {"events": [room.pdu(event) for event in found.values()]}

    peer.answer("POST", "/_matrix/federation/v1/get_missing_events/{room_id}", missing)
