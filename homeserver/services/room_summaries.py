"""Summaries of rooms and of spaces, as those see them who are not, or not yet, in the room.

Transaction functions. Spec: client-server API, `RoomSummary` and "Discovering rooms within spaces".
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, decode_object
from homeserver.core.room_summaries import JOIN_RULES, KEYS, RoomSummary
from homeserver.core.room_versions import get_room_version
from homeserver.core.space_children import SPACE, SPACE_CHILD, SpaceChild, in_order
from homeserver.database.transactions import ReadTransaction
from homeserver.services.client_events import content_of
from homeserver.services.server_acls import is_allowed
from homeserver.storage import events, room_servers, rooms, server_members, state
from homeserver.storage.rooms import Room

ENCRYPTION: Final[StateKey] = ("m.room.encryption", "")

RESTRICTED: Final = frozenset({"restricted", "knock_restricted"})


class SummarisedRoom(msgspec.Struct, frozen=True):
    """A room, what a summary says of it, and the rooms whose members may join it."""

    room: Room
    summary: RoomSummary
    encryption: str | None
    allowed_room_ids: tuple[str, ...]

    @property
    def is_space(self) -> bool:
        """Whether the room is a space."""
        return self.summary.room_type == SPACE

    def to_json(self) -> JsonObject:
        """As a `RoomSummary`."""
        found: JsonObject = {
            "room_id": self.room.room_id,
            "num_joined_members": self.room.joined_members,
            "room_version": self.room.version,
            **self.summary.to_json(),
        }
        if self.encryption is not None:
            found["encryption"] = self.encryption
        if self.allowed_room_ids:
            found["allowed_room_ids"] = list(self.allowed_room_ids)
        return found


def summarise(tx: ReadTransaction, room: Room) -> SummarisedRoom:
    """What the room's current state says of it."""
    return next(iter(summarise_all(tx, (room,))))


def summarise_all(tx: ReadTransaction, found: Iterable[Room]) -> list[SummarisedRoom]:
    """As `summarise`, of several rooms with fewer questions."""
    found = list(found)
    states = state.get_across(tx, {room.state_root for room in found}, (*KEYS, ENCRYPTION))
    stored = events.of_nids(tx, {nid for nids in states.values() for nid in nids.values()})
    return [
        _summary_of(
            room,
            {key: decode_object(content_of(stored[nid])) for key, nid in states[room.state_root].items()},
        )
        for room in found
    ]


def _summary_of(room: Room, contents: Mapping[StateKey, JsonObject]) -> SummarisedRoom:
    algorithm = contents.get(ENCRYPTION, {}).get("algorithm")
    summary = RoomSummary.of(contents)
    return SummarisedRoom(
        room,
        summary,
        algorithm if isinstance(algorithm, str) else None,
        _allowed_rooms(contents.get(JOIN_RULES, {})) if summary.join_rule in RESTRICTED else (),
    )


def children_of(tx: ReadTransaction, space: SummarisedRoom) -> list[SpaceChild]:
    """The children that a space names, in their order; none if the room is not a space."""
    return children_in(tx, space.room.state_root) if space.is_space else []


def children_in(tx: ReadTransaction, state_root: int) -> list[SpaceChild]:
    """The children that the state of a space names, in their order."""
    whole = state.whole(tx, state_root)
    nids = [nid for key, nid in whole.items() if key[0] == SPACE_CHILD]
    read = (SpaceChild.of(decode_object(event.pdu)) for event in events.of_nids(tx, nids).values())
    return in_order(child for child in read if child is not None)


def may_enter(tx: ReadTransaction, found: SummarisedRoom, server_name: ServerName) -> bool:
    """Whether users of a server could join the room or look into it, as far as that can be told for a server.

    Of a room that only members of other rooms may join, a server may know if it is in one of these.
    """
    room, summary = found.room, found.summary
    if not is_allowed(tx, room, server_name):
        return False
    if summary.world_readable or room_servers.joined(tx, room.room_nid, server_name):
        return True
    version = get_room_version(room.version)
    if summary.join_rule == "public":
        return True
    if (summary.join_rule == "knock" and version.knocking) or (
        summary.join_rule == "knock_restricted" and version.knock_restricted
    ):
        return True
    if summary.join_rule == "restricted" and version.restricted_joins:
        for room_id in found.allowed_room_ids:
            room_nid = rooms.nid_of(tx, room_id)
            if room_nid is not None and room_servers.joined(tx, room_nid, server_name):
                return True
    return server_members.has_invited(tx, room.room_nid, server_name)


def _allowed_rooms(join_rules: JsonObject) -> tuple[str, ...]:
    allow = join_rules.get("allow")
    found = (
        condition.get("room_id")
        for condition in (allow if isinstance(allow, list) else ())
        if isinstance(condition, dict) and condition.get("type") == "m.room_membership"
    )
    return tuple(room_id for room_id in found if isinstance(room_id, str) and room_id.startswith("!"))
