"""Knocking on rooms that this server is not in. Spec: server-server API, "Knocking upon a room"."""

from collections.abc import Iterable

import msgspec

from homeserver.clients.errors import RemoteError
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.database.database import Database
from homeserver.rooms.membership_events import Wanted
from homeserver.rooms.out_of_band import OutOfBand, record
from homeserver.services.invite_states import InviteStates
from homeserver.services.remote_handshakes import RemoteHandshakes


class RemoteKnocks(msgspec.Struct, frozen=True):
    """Knocks by way of servers that are in the room."""

    database: Database
    handshakes: RemoteHandshakes
    states: InviteStates

    async def knock(self, room_id: RoomID, wanted: Wanted, servers: Iterable[ServerName]) -> None:
        """Knock by way of one of the servers.

        Errors: Forbidden, NotFound, IncompatibleRoomVersion as the servers say; Unknown (502); BadJson,
        TooLarge for the content.
        """

        async def attempt(server_name: ServerName) -> OutOfBand:
            made = await self.handshakes.make(server_name, room_id, wanted)
            answer = await self.handshakes.send(made)
            told = answer.get("knock_room_state")
            try:
                stripped = await self.states.of_knock(told, room_id, made.event.room_version)
            except MatrixError as error:
                raise RemoteError(server_name, error.message, transient=False) from error
            return OutOfBand(made.event, made.data, stripped)

        news = await self.handshakes.try_each(servers, attempt)
        own = self.handshakes.signer.server_name
        await self.database.write(record, news, own, now_ts=self.handshakes.clock.now_ts())
