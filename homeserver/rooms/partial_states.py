"""Rooms whose state lacks most members for a while, since they were entered with `omit_members`.

What cannot be decided without the members waits until they are there. Spec: server-server API, `joins-v2.yaml`.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import RoomID, ServerName, UserID, server_of
from homeserver.database.errors import Obstacle
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import partial_joins, rooms

MEMBER = "m.room.member"

DOUBTED: Final = 3
"""How often the members must be sought in vain before a removal is believed."""


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


def is_doubtful_removal(tx: ReadTransaction, room: rooms.Room, event: Event, server_name: ServerName) -> bool:
    """Whether somebody elsewhere says that a user of this server, `server_name`, is out of a partial room.

    Who says so may be no member any more. To believe it by mistake could not be put right: a server whose last user is
    out hears no more of the room. So that waits for the members; unless nobody tells who they are, since servers tell
    it only to those that are in the room.
    """
    if not room.is_partial or event.type != MEMBER or event.state_key == event.sender:
        return False
    if event.content.get("membership") in ("join", "invite", "knock"):
        return False
    if server_of(UserID(event.state_key or "")) != server_name:
        return False
    failures = partial_joins.failures(tx, room.room_nid)
    return failures is not None and failures < DOUBTED
