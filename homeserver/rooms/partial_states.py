"""Rooms whose state lacks most members for a while, since they were entered with `omit_members`.

What cannot be decided without the members waits until they are there. Spec: server-server API, `joins-v2.yaml`.
"""

from collections.abc import Collection, Iterable, Mapping

import attrs

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import RoomID
from homeserver.database.errors import Obstacle
from homeserver.storage import rooms

MEMBER = "m.room.member"


@attrs.frozen
class StateWanted(Obstacle):
    """The state of the room must be complete before this can be decided."""

    room_id: RoomID


def check_known(room: rooms.Room, keys: Iterable[StateKey], found: Collection[StateKey]) -> None:
    """Whether what the state says of `keys`, `found` of which it holds, can be relied on. Errors: StateWanted."""
    if room.is_partial and any(key[0] == MEMBER and key not in found for key in keys):
        raise StateWanted(room.room_id)


def completed(
    found: Mapping[StateKey, Event], keys: Collection[StateKey], cited: Iterable[Event]
) -> dict[StateKey, Event]:
    """What a state that lacks members says of `keys`: where it has nothing, the members that an event cites count."""
    members = {
        event.key: event
        for event in cited
        if event.type == MEMBER and event.is_state and not event.rejected and event.key in keys
    }
    return members | dict(found)
