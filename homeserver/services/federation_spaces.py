"""Spaces for other servers. Spec: server-server API, "Spaces"."""

from typing import Final

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.services.room_summaries import children_of, may_enter, summarise
from homeserver.storage import rooms

MOST_CHILDREN: Final = 500
"""Children that are looked at for one answer, which has no further pages."""


class FederationSpaces(msgspec.Struct, frozen=True):
    """Tells other servers of spaces and their children."""

    database: Database

    async def hierarchy(self, origin: ServerName, room_id: RoomID, *, suggested_only: bool) -> JsonObject:
        """The room and its children, as far as the asking server could join them or look into them.

        Errors: NotFound, also if it could not join the room.
        """
        return await self.database.read(read_hierarchy, origin, room_id, suggested_only=suggested_only)


def read_hierarchy(
    tx: ReadTransaction, origin: ServerName, room_id: RoomID, *, suggested_only: bool
) -> JsonObject:
    """As `FederationSpaces.hierarchy`."""
    room = rooms.of(tx, room_id)
    space = summarise(tx, room) if room is not None and room.is_held else None
    if space is None or not may_enter(tx, space, origin):
        raise NotFound("There is no such room, or your server could not join it")
    named = [each for each in children_of(tx, space) if each.is_suggested or not suggested_only]
    children: list[JsonValue] = []
    inaccessible: list[JsonValue] = []
    for child in named[:MOST_CHILDREN]:
        child_room = rooms.of(tx, child.room_id)
        if child_room is None or not child_room.is_held:
            # "Rooms which the responding server cannot provide details on will be outright excluded."
            continue
        summarised = summarise(tx, child_room)
        if may_enter(tx, summarised, origin):
            children.append(summarised.to_json())
        else:
            inaccessible.append(child.room_id)
    return {
        "room": space.to_json() | {"children_state": [child.stripped for child in named]},
        "children": children,
        "inaccessible_children": inaccessible,
    }
