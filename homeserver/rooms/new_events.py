"""Events about to be stored, with what has been decided of them: what `room_changes` is given."""

from collections.abc import Collection

import msgspec

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.power_levels import PowerLevels
from homeserver.rooms.extremities import UNSEEN
from homeserver.storage import events


class Arrived(msgspec.Struct, frozen=True):
    """What is to be said of an event that another server sent.

    `superseded` are the events that are no extremities after it, if it is accepted; `missing` are those of its parents
    that this server lacks; with `is_stored` it is known as an outlier, and now gets its place.
    """

    superseded: frozenset[EventID]
    missing: Collection[EventID] = ()
    is_stored: bool = False


class NewEvent(msgspec.Struct, frozen=True):
    """An event to be stored, with what has been decided of it.

    `before` is the root of the state before it, with the power levels `levels`; `status` one of `storage.events`.
    `arrived` is None for an event of this server; whether others are sent that is found out here. Of an event of
    another server, `is_outbound` says whether this server sends it on. It may stick, counted from `received_ts`;
    with `None` it does not, whatever it says.
    """

    event: Event
    event_nid: int
    pdu: bytes
    before: int
    levels: PowerLevels
    status: int = events.ACCEPTED
    is_outbound: bool = False
    arrived: Arrived | None = None
    device_id: str | None = None
    txn_id: str | None = None
    received_ts: int | None = None

    @property
    def is_unseen(self) -> bool:
        """Whether it is rejected or soft-failed."""
        return self.status in UNSEEN
