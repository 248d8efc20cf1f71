"""Which thread an event belongs to, by what its room holds."""

from collections.abc import Mapping
from typing import Protocol

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID
from homeserver.core.json import decode_object
from homeserver.core.relations import Relation, relation_of
from homeserver.core.threads import thread_of
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events


class Made(Protocol):
    """What has been made of an event that is not stored yet."""

    @property
    def event(self) -> Event:
        """The event."""
        ...


def thread_in(
    tx: ReadTransaction, room_nid: int, event: Event, unstored: Mapping[EventID, Made]
) -> EventID | None:
    """The root of the event's thread, None for the main timeline. `unstored`: the room's events that are on their way.

    Spec: client-server API, "Threading".
    """

    def relation_of_event(event_id: EventID) -> Relation | None:
        if event_id in unstored:
            return relation_of(unstored[event_id].event.content)
        stored = events.of(tx, event_id)
        if stored is None or stored.room_nid != room_nid:
            return None
        content = decode_object(stored.pdu)["content"]
        return relation_of(content) if isinstance(content, dict) else None

    def is_elsewhere(event_id: EventID) -> bool:
        found = None if event_id in unstored else events.position_of(tx, event_id)
        return found is not None and found[0] != room_nid

    return thread_of(event.content, relation_of_event, is_elsewhere)
