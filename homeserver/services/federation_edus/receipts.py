"""`m.receipt`: how far users of other servers have read. Spec: server-server API, "Receipts".

A receipt may arrive before its event, which may be waiting to be made part of its room: it is kept until then.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Final

import attrs
import msgspec

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import EventID, RoomID, ServerName, parse_event_id, parse_room_id
from homeserver.core.receipts import READ, UNTHREADED, Receipt
from homeserver.core.threads import MAIN
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.federation_edus.content import read_as, read_each, user_of
from homeserver.services.receipts import is_in_thread
from homeserver.services.server_acls import is_allowed
from homeserver.storage import awaited_receipts, events, memberships, receipts, rooms

MOST_RECEIPTS: Final = 2_000
"""Receipts in the EDUs of one transaction."""

MOST_AWAITED: Final = 1_000
"""Receipts of one server that are kept until their events come; the newest."""

AWAITED_MS: Final = 6 * 3_600_000
"""For how long."""

BATCH: Final = 100

ALL_MS: Final = 60_000
"""How often all that waits is looked at: history that is fetched later has no new positions."""


class ReceiptData(msgspec.Struct):
    """`data` of a user's receipt."""

    ts: int
    thread_id: str | None = None


class UserReceipt(msgspec.Struct):
    """A user's receipt: the value under `m.read` and the user ID."""

    event_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1)]
    data: ReceiptData


class _Item(msgspec.Struct, frozen=True):
    """A receipt as it stands in an EDU."""

    room_id: str
    user_id: str
    receipt: object


@attrs.define(eq=False)
class IncomingReceipts:
    """How far others have read; nothing moves backwards."""

    database: Database
    clock: Clock
    _upto: int | None = attrs.field(default=None, init=False)
    """The events up to there have been looked at; None: it is time to look at what waits instead."""
    _all_ms: int = attrs.field(default=0, init=False)

    async def receive(self, origin: ServerName, contents: Sequence[object]) -> None:
        """As `EduKind.receive`; the receipts are on disk when this is done."""
        items = islice(_items_in(contents), MOST_RECEIPTS)
        found = read_each(_receipt_in, origin, items, what="m.receipt")
        for first in range(0, len(found), BATCH):
            await self.database.write(apply, origin, found[first : first + BATCH], now_ts=self.clock.now_ts())

    async def settle(self) -> None:
        """Move the receipts whose events have come; to be called every second or so."""
        now_ms = self.clock.monotonic_ms()
        if self._upto is None or now_ms - self._all_ms >= ALL_MS:
            self._upto, self._all_ms = None, now_ms
        upto, is_any_due = await self.database.read(look, self._upto)
        while is_any_due and await self.database.write(settle, after=self._upto, most=BATCH) >= BATCH:
            pass
        self._upto = upto

    async def prune(self) -> None:
        """Forget receipts whose events do not come; to be called about once an hour."""
        await self.database.write_soon(awaited_receipts.prune, before_ts=self.clock.now_ts() - AWAITED_MS)


def apply(
    tx: WriteTransaction, origin: ServerName, found: Sequence[tuple[RoomID, Receipt]], *, now_ts: int
) -> None:
    """Move the receipts of those who are joined to the rooms, unless their server may not be there."""
    in_rooms: dict[RoomID, rooms.Room | None] = {}
    for room_id, receipt in found:
        if room_id not in in_rooms:
            room = rooms.of(tx, room_id)
            in_rooms[room_id] = room if room is not None and is_allowed(tx, room, origin) else None
        room = in_rooms[room_id]
        if room is None:
            continue
        # Nobody has read in the future.
        told = msgspec.structs.replace(receipt, ts=min(receipt.ts, now_ts))
        if not _move(tx, room.room_nid, room_id, told):
            awaited_receipts.put(tx, room.room_nid, told, origin=origin, received_ts=now_ts)
    awaited_receipts.keep_newest(tx, origin, most=MOST_AWAITED)


def look(tx: ReadTransaction, after: int | None) -> tuple[int, bool]:
    """The newest event's position, and whether `settle` has something to do: with events after `after`, if given."""
    newest = awaited_receipts.newest(tx)
    return newest, newest != after and awaited_receipts.is_any_due(tx, after=after)


def settle(tx: WriteTransaction, *, after: int | None, most: int) -> int:
    """Move up to `most` receipts whose events have come, after `after` if given; gives how many were looked at."""
    due = awaited_receipts.take_due(tx, most=most, after=after)
    room_ids = rooms.ids_of(tx, {room_nid for room_nid, _ in due})
    for room_nid, receipt in due:
        if room_nid in room_ids:  # else the room is being removed
            _move(tx, room_nid, room_ids[room_nid], receipt)
    return len(due)


def _move(tx: WriteTransaction, room_nid: int, room_id: RoomID, receipt: Receipt) -> bool:
    """Move the receipt, if its user is in the room and its event where it should be; False if that is yet to come."""
    membership = memberships.of(tx, room_nid, receipt.user_id)
    if membership is None or membership.membership != "join":
        return True
    place = _place_of(tx, receipt.event_id)
    if place is None:
        return False
    event_room, position, thread_of_event = place
    if event_room == room_nid and is_in_thread(receipt.event_id, thread_of_event, receipt.thread_id):
        receipts.move(tx, room_nid, room_id, receipt, event_position=position)
    return True


def _place_of(tx: ReadTransaction, event_id: EventID) -> tuple[int, int, str | None] | None:
    """The room, position and thread of an event; `None` while it is in no timeline."""
    event_room, position, thread_of_event = events.position_of(tx, event_id) or (None, None, None)
    if event_room is None or position is None:
        return None
    return event_room, position, thread_of_event


def _items_in(contents: Sequence[object]) -> Iterator[_Item]:
    """The receipts of type `m.read`: other types are not for other servers to see."""
    for content in contents:
        in_rooms = content.items() if isinstance(content, dict) else ()
        for room_id, by_type in in_rooms:
            by_user = by_type.get(READ) if isinstance(by_type, dict) else None
            if isinstance(by_user, dict):
                yield from (_Item(room_id, user_id, receipt) for user_id, receipt in by_user.items())


def _receipt_in(origin: ServerName, item: _Item) -> tuple[RoomID, Receipt]:
    found = read_as(UserReceipt, item.receipt)
    if found.data.ts < 0:
        raise BadJson("ts must not be negative")
    thread_id = UNTHREADED if found.data.thread_id is None else found.data.thread_id
    if thread_id not in (UNTHREADED, MAIN):
        parse_event_id(thread_id)
    receipt = Receipt(
        user_of(origin, item.user_id), READ, thread_id, parse_event_id(found.event_ids[0]), found.data.ts
    )
    return parse_room_id(item.room_id), receipt
