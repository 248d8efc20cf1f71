"""A foreign server that asks one of ours, and the rooms that it asks about."""

from typing import Any

import attrs

from homeserver.core.hashes import event_id_of
from homeserver.core.identifiers import EventID, ServerName, UserID
from homeserver.core.room_versions import get_room_version
from homeserver.database.database import Database
from tests.api.server import Answer
from tests.federation.harness import FederatedServer
from tests.federation.peer import Peer, federation
from tests.room_stories import Story


@attrs.frozen
class Asking:
    """The foreign server `peer` asks our `server`. Rooms are made in our database, the peer's users in them as well."""

    server: FederatedServer
    peer: Peer
    owner: UserID

    @property
    def database(self) -> Database:
        """Our server's."""
        return self.server.running.server.database

    @property
    def peer_name(self) -> ServerName:
        """The foreign server's name."""
        return self.peer.server_name

    def user(self, localpart: str) -> UserID:
        """A user of the foreign server."""
        return UserID(f"@{localpart}:{self.peer_name}")

    async def room(
        self, visibility: str | None = "shared", *, seed: str = "room", version: str = "11"
    ) -> Story:
        """A room of our server's owner."""
        return await Story(self.database, self.owner).begin(visibility, seed=seed, version=version)

    async def shared_room(
        self, visibility: str | None = "shared", *, seed: str = "room", version: str = "11"
    ) -> Story:
        """A room that a user of the foreign server has joined."""
        story = await self.room(visibility, seed=seed, version=version)
        await story.member(self.user("bob"), "join")
        return story

    async def get(self, *parts: str, **query: object) -> Answer:
        """GET with a signature of the foreign server; `parts` are the path after `/v1/`."""
        return await self.peer.request(
            "GET", self.server.server_name, federation("v1", *parts), query=query or None
        )

    async def post(self, *parts: str, body: object) -> Answer:
        """As `get`, with a body."""
        return await self.peer.request("POST", self.server.server_name, federation("v1", *parts), body)

    async def event(self, event_id: str) -> Any:
        """The PDU that our server gives for the ID; `None` if it gives none."""
        answer = await self.get("event", event_id)
        if answer.status == 404:
            answer.error(404, "M_NOT_FOUND")
            return None
        [pdu] = answer.ok()["pdus"]
        return pdu


def ids(pdus: Any, version: str = "11") -> list[EventID]:
    """The IDs of PDUs, in their order."""
    return [event_id_of(pdu, get_room_version(version)) for pdu in pdus]


def bodies(pdus: Any) -> list[str | None]:
    """What messages say, in their order; `None` for a redacted one."""
    return [pdu["content"].get("body") for pdu in pdus if pdu["type"] == "m.room.message"]
