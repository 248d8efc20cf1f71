"""Users of other servers knock on rooms that this server is in. Spec: server-server API, "Knocking upon a room"."""

from collections.abc import Collection

import msgspec

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.core.splice import array, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.current_state import CurrentState
from homeserver.rooms.state_answers import SHOWN_TO_OUTSIDERS
from homeserver.services.federation_handshakes import Asked, FederationHandshakes, Submitted
from homeserver.storage import event_bytes, state


class FederationKnocks(msgspec.Struct, frozen=True):
    """Lets users of other servers ask to be invited."""

    handshakes: FederationHandshakes

    async def make(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, versions: Collection[str]
    ) -> JsonObject:
        """A template for the knock event. Errors: see `FederationHandshakes.template`."""
        return await self.handshakes.template(Asked(origin, room_id, user_id, "knock", versions))

    async def send(self, submitted: Submitted) -> bytes:
        """Take the knock in, and give the JSON of what its user is told of the room.

        Errors: NotFound, InvalidParam, Forbidden.
        """
        handshakes = self.handshakes
        await handshakes.take_in(submitted, await handshakes.check(submitted))
        return await handshakes.database.read(knock_answer, submitted.room_id, handshakes.signer.server_name)


def knock_answer(tx: ReadTransaction, room_id: RoomID, server_name: ServerName) -> bytes:
    """The answer to `send_knock`. Errors: NotFound."""
    current = CurrentState.of(tx, room_id, server_name)
    return object_of({"knock_room_state": array(shown_to_outsiders(tx, current))})


def shown_to_outsiders(tx: ReadTransaction, current: CurrentState) -> list[bytes]:
    """The PDUs by which an outsider recognises a room."""
    nids = state.get_many(tx, current.room.state_root, SHOWN_TO_OUTSIDERS)
    return [each.pdu for each in event_bytes.of_nids(tx, nids.values())]
