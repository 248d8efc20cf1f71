"""A room of Alice's on a server of ours, which Mallory of a foreign server is in, too."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from homeserver.core.identifiers import RoomID
from homeserver.core.json import decode_object
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, rooms
from tests.api.server import Answer, Client, room_path
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.peer import Peer
from tests.federation.peer_rooms import Pdu, PeerRoom


@attrs.frozen
class Scene:
    """`room` is the room as the peer knows it; Mallory has no power there."""

    server: FederatedServer
    alice: Client
    peer: Peer
    room: PeerRoom
    mallory: str

    async def send(self, pdus: Sequence[object] = (), edus: Sequence[object] = (), **options: Any) -> Answer:
        """A transaction of the peer."""
        return await self.peer.send(self.server.server_name, pdus, edus, **options)

    def says(self, text: str, **options: Any) -> Pdu:
        """A message of Mallory's, not yet in the room."""
        return self.room.message(text, sender=self.mallory, **options)

    async def deliver(self, text: str, *before: object) -> Answer:
        """Send these, and a good message after them in the same transaction; wait until Alice sees the latter."""
        good = self.says(text)
        answer = await self.send([*before, good])
        answer.ok()
        self.room.accept(good)
        await self.seen(text)
        return answer

    async def seen(self, text: str) -> None:
        """Wait until Alice sees a message."""

        async def is_there() -> bool:
            return text in await self.texts()

        await until(is_there, what=f"the message {text}")

    async def texts(self) -> list[str]:
        """The messages that Alice sees."""
        return await self.alice.messages_in(self.room.room_id)

    async def state(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        """The content of the room's state as Alice sees it."""
        events = (await self.alice.get(room_path(self.room.room_id, "state"))).ok()
        return {(event["type"], event["state_key"]): event["content"] for event in events}

    async def shows(self, event_id: str) -> bool:
        """Whether Alice gets the event when she asks for it."""
        return (await self.alice.get(room_path(self.room.room_id, "event", event_id))).status == 200


async def set_scene(servers: Servers, peer: Peer, version: str = "11", **options: Any) -> Scene:
    """Alice makes the room, and Mallory joins it, by a plain transaction: these tests are about nothing else."""
    server = await servers.start(**options)
    return await set_scene_with(server, await server.user("alice"), peer, version)


async def set_scene_with(
    server: FederatedServer, alice: Client, peer: Peer, version: str = "11", **room_options: object
) -> Scene:
    """As `set_scene`, on a server that runs."""
    room_id = await alice.create_room(preset="public_chat", room_version=version, **room_options)
    room = PeerRoom(peer, get_room_version(version), room_id)
    for pdu in await server.running.server.database.read(pdus_of, RoomID(room_id)):
        room.accept(pdu)
    room.serve()
    mallory = f"@mallory:{peer.server_name}"
    joining = room.make("m.room.member", {"membership": "join"}, mallory, sender=mallory)
    (await peer.send(server.server_name, [joining])).ok()
    room.accept(joining)
    scene = Scene(server, alice, peer, room, mallory)

    async def is_there() -> bool:
        return ("m.room.member", mallory) in await scene.state()

    await until(is_there, what="that Mallory has joined")
    return scene


def pdus_of(tx: ReadTransaction, room_id: RoomID) -> list[Pdu]:
    """The events of a room of ours, oldest first."""
    room_nid = rooms.nid_of(tx, room_id)
    assert room_nid is not None
    found = events.page(tx, room_nid, after=-(2**62), newest=2**62, most=1000, order="oldest first")
    return [decode_object(event.pdu) for event in found]


def without(pdu: Pdu, *names: str) -> Pdu:
    """The event without some of its top-level keys."""
    return {name: value for name, value in pdu.items() if name not in names}
