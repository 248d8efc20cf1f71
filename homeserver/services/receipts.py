"""Read receipts and the fully read marker.

Spec: client-server API, "Receipts" and "Read and unread markers".
"""

from typing import Final

import msgspec

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue, decode_object, encode
from homeserver.core.receipts import FULLY_READ, READ, READ_PRIVATE, UNTHREADED, Receipt
from homeserver.core.requester import Requester
from homeserver.core.threads import MAIN
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.presence import Presence
from homeserver.storage import account_data, events, memberships, receipts

MARKERS: Final = (FULLY_READ, READ, READ_PRIVATE)


class Marker(msgspec.Struct, frozen=True):
    """How far the user has read, of one of the types in `MARKERS`; `thread_id` as in `Receipt`."""

    type: str
    event_id: EventID
    thread_id: str = UNTHREADED


class Receipts(msgspec.Struct, frozen=True):
    """Remembers how far users have read; nothing ever moves backwards."""

    database: Database
    clock: Clock
    presence: Presence

    async def send(
        self, requester: Requester, room_id: RoomID, receipt_type: str, event_id: EventID, body: JsonObject
    ) -> None:
        """Move the requester's marker of that type to the event; `body` may have `thread_id`.

        Errors: InvalidParam for an unknown type, or a thread that does not go with the type or the event;
        otherwise as `mark`.
        """
        if receipt_type not in MARKERS:
            raise InvalidParam(f"the receipt type must be one of {', '.join(MARKERS)}")
        thread_id = UNTHREADED
        if "thread_id" in body:
            thread_id = _thread_id(receipt_type, body["thread_id"])
        await self.mark(requester, room_id, [Marker(receipt_type, event_id, thread_id)])

    async def mark(self, requester: Requester, room_id: RoomID, markers: list[Marker]) -> None:
        """Move several markers of the requester, all or none; those that are further on already stay.

        Errors: Forbidden if the requester is not joined to the room; NotFound if an event is not in the
        room's timeline; InvalidParam if one is not in the thread named.
        """
        await self.database.write(
            move_markers, requester.user_id, room_id, markers, now_ts=self.clock.now_ts()
        )
        await self.presence.active(requester)


def move_markers(
    tx: WriteTransaction, user_id: UserID, room_id: RoomID, markers: list[Marker], *, now_ts: int
) -> None:
    """As `Receipts.mark`."""
    room = memberships.room_of(tx, user_id, room_id)
    if room is None or room.membership != "join":
        raise Forbidden("You are not joined to this room")
    room_nid = room.room_nid
    for marker in markers:
        position = _position_of(tx, room_nid, marker)
        if marker.type == FULLY_READ:
            _move_fully_read(tx, user_id, room_id, marker.event_id, position)
        else:
            receipt = Receipt(user_id, marker.type, marker.thread_id, marker.event_id, now_ts)
            receipts.move(tx, room_nid, room_id, receipt, event_position=position)


def _thread_id(receipt_type: str, thread_id: JsonValue) -> str:
    if not isinstance(thread_id, str) or not thread_id:
        raise InvalidParam("thread_id must be a non-empty string")
    if receipt_type == FULLY_READ:
        raise InvalidParam(f"thread_id cannot be used with {FULLY_READ}")
    return thread_id


def _position_of(tx: ReadTransaction, room_nid: int, marker: Marker) -> int:
    """Where the marker's event stands in the room's timeline. Errors: NotFound, InvalidParam."""
    event_room, position, thread_of_event = events.position_of(tx, marker.event_id) or (None, None, None)
    if event_room != room_nid or position is None:
        raise NotFound("The event is not in this room")
    if not is_in_thread(marker.event_id, thread_of_event, marker.thread_id):
        raise InvalidParam("the event is not in the thread that thread_id names")
    return position


def is_in_thread(event_id: EventID, thread_of_event: str | None, thread_id: str) -> bool:
    """Whether a receipt with this `thread_id` (see `Receipt`) goes with the event.

    `thread_of_event` is its own thread, `None` if it is in none. A root stands in the main timeline, but a receipt
    on it is related to the thread, too.
    """
    threads = {thread_of_event} if thread_of_event is not None else {MAIN, event_id}
    return thread_id == UNTHREADED or thread_id in threads


def _move_fully_read(
    tx: WriteTransaction, user_id: UserID, room_id: RoomID, event_id: EventID, position: int
) -> None:
    content = account_data.lock(tx, user_id, room_id, FULLY_READ)
    current = _event_position(tx, decode_object(content).get("event_id"))
    if current is None or current < position:
        account_data.put(tx, user_id, room_id, FULLY_READ, encode({"event_id": event_id}))


def _event_position(tx: ReadTransaction, event_id: JsonValue) -> int | None:
    """Where an event stands; `None` if there is none, or it is not (or no longer) in a timeline."""
    found = events.position_of(tx, event_id) if isinstance(event_id, str) else None
    return None if found is None else found[1]
