"""The current state of a room, for those who read it, with or without changing it."""

from collections.abc import Iterable
from typing import Protocol, Self

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, room_servers, rooms, state


class RoomState(Protocol):
    """A room whose state can be asked; also what an `Appender` is."""

    @property
    def room(self) -> rooms.Room:
        """The room as its row stands."""
        ...

    @property
    def version(self) -> RoomVersion:
        """The room's version."""
        ...

    def state_event(self, key: StateKey) -> Event | None:
        """What the state has for `key`."""
        ...

    def state_events(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        """What the state has for those of `keys` that it holds."""
        ...


class CurrentState(msgspec.Struct, frozen=True):
    """A room's current state in one snapshot."""

    tx: ReadTransaction
    room: rooms.Room

    @classmethod
    def of(cls, tx: ReadTransaction, room_id: RoomID, server_name: ServerName) -> Self:
        """The state of a room that the server `server_name`, which is this one, is in. Errors: NotFound."""
        room = rooms.of(tx, room_id)
        if room is None or not room.is_held or not room_servers.joined(tx, room.room_nid, server_name):
            raise NotFound("This server is not in that room")
        return cls(tx, room)

    @property
    def version(self) -> RoomVersion:
        """The room's version."""
        return get_room_version(self.room.version)

    def state_event(self, key: StateKey) -> Event | None:
        """What the state has for `key`."""
        return self.state_events((key,)).get(key)

    def state_events(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        """What the state has for those of `keys` that it holds."""
        nids = state.get_many(self.tx, self.room.state_root, keys)
        found = events.parsed(self.tx, nids.values(), self.version)
        return {key: found[nid] for key, nid in nids.items()}


def current_content(state: RoomState, key: StateKey) -> JsonObject:
    """The content that the room's state has for `key`, empty if it has none."""
    event = state.state_event(key)
    return {} if event is None else event.content
