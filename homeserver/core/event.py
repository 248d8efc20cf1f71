"""An event of a room, read once from its PDU."""

from collections.abc import Mapping
from typing import Any, Self, TypeAlias, TypeVar, cast

import attrs

from homeserver.core.hashes import event_id_of
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.room_versions import RoomVersion

T = TypeVar("T")

StateKey: TypeAlias = tuple[str, str]
"""What a state event sets: its `type` and its `state_key`."""

StateMap: TypeAlias = Mapping[StateKey, T]
"""A value for each entry of a room's state."""


@attrs.frozen(slots=True, eq=False)
class Event:
    """An event. Two events are the same if their IDs are.

    `pdu` is the whole event as federated, without `unsigned`; neither it nor `content`, which is part of it,
    may be changed. `redacts` is taken from where the room version has it, and only from redactions.
    `rejected` tells that the authorisation rules refused the event.
    """

    event_id: EventID
    room_id: RoomID
    type: str
    sender: UserID
    state_key: str | None
    content: JsonObject = attrs.field(repr=False)
    origin_server_ts: int
    depth: int = attrs.field(repr=False)
    prev_events: tuple[EventID, ...] = attrs.field(repr=False)
    auth_events: tuple[EventID, ...] = attrs.field(repr=False)
    redacts: EventID | None
    room_version: RoomVersion = attrs.field(repr=False)
    pdu: JsonObject = attrs.field(repr=False)
    rejected: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.event_id == other.event_id

    def __hash__(self) -> int:
        return hash(self.event_id)

    @property
    def is_state(self) -> bool:
        """Whether the event sets an entry of the room's state."""
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """The entry of the room's state that the event sets.

        Errors: ValueError if it is no state event.
        """
        if self.state_key is None:
            raise ValueError(f"{self.event_id} is no state event")
        return (self.type, self.state_key)

    @classmethod
    def from_pdu(
        cls,
        pdu: JsonObject,
        room_version: RoomVersion,
        *,
        event_id: EventID | None = None,
        rejected: bool = False,
    ) -> Self:
        """Read a PDU that has passed `event_format.check_event_format`, now or before it was stored.

        Without `event_id` the ID is computed, or read where the room version has it in the event. `unsigned`
        is left out.
        """
        if "unsigned" in pdu:
            pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
        if event_id is None:
            event_id = event_id_of(pdu, room_version)
        # The format has been checked: every key is of the type that is taken here.
        fields = cast("dict[str, Any]", pdu)
        room_id: RoomID = fields["room_id"] if "room_id" in fields else room_id_of_create(event_id)
        return cls(
            event_id,
            room_id,
            fields["type"],
            fields["sender"],
            fields.get("state_key"),
            fields["content"],
            fields["origin_server_ts"],
            fields["depth"],
            _references(fields["prev_events"], room_version),
            _references(fields["auth_events"], room_version),
            _redacts(fields, room_version),
            room_version,
            pdu,
            rejected,
        )


def room_id_of_create(event_id: EventID) -> RoomID:
    """The room that a create event makes, in room versions whose room IDs are its hash (12 and later)."""
    return RoomID("!" + event_id[1:])


def create_event_id_of(room_id: RoomID) -> EventID:
    """The create event that a room ID names, in room versions whose room IDs are its hash (12 and later)."""
    return EventID("$" + room_id[1:])


def _references(listed: list[Any], room_version: RoomVersion) -> tuple[EventID, ...]:
    """The event IDs of `prev_events` or `auth_events`."""
    if room_version.event_references_with_hashes:
        return tuple(pair[0] for pair in listed)
    return tuple(listed)


def _redacts(fields: dict[str, Any], room_version: RoomVersion) -> EventID | None:
    """What a redaction redacts; None if it is none, or does not say."""
    if fields["type"] != "m.room.redaction":
        return None
    holder = fields["content"] if room_version.redacts_in_content else fields
    redacts = holder.get("redacts")
    return EventID(redacts) if isinstance(redacts, str) else None
