"""What a destination has missed: read from the database in pages, never held in memory as a whole.

The latest rooms come first, each with its oldest event first. Of a room with very many missed events only the newest
are sent: they name what came before, and whoever needs that asks for it. Spec: server-server API, "Backfilling and
retrieving missing events".
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.core.identifiers import ServerName, server_of
from homeserver.database.transactions import ReadTransaction
from homeserver.services.federation_outbox.edus import ReceiptEdu
from homeserver.services.federation_outbox.transactions import MOST_PDUS, Pdu
from homeserver.storage import outbound_edus, outbound_events, room_servers, sticky_events
from homeserver.storage.outbound_events import Expulsion, MissedRoom

MOST_IN_ALL: Final = 20_000
"""About so many events are sent at most, shared out equally among the rooms."""

MOST_PER_ROOM: Final = 1_000
LEAST_PER_ROOM: Final = 5
"""Enough for what several processes have sent at the same time on different branches."""

MOST_RECEIPTS: Final = 1_000
"""The newest missed ones."""

LOOKED_THROUGH: Final = 5_000
"""Events that one page looks through for users of the destination who were put out of a room."""


class Place(msgspec.Struct, frozen=True):
    """How far a round of catching up is; with `upto` `None` it has not begun.

    A round covers the window `after < position <= upto`. `rooms` are still to be looked at, `event_nids` are those of
    one of them that are still to be sent.
    """

    after: int
    upto: int | None = None
    rooms: tuple[MissedRoom, ...] = ()
    event_nids: tuple[int, ...] = ()
    per_room: int = MOST_PER_ROOM
    looked_upto: int = 0


class Page(msgspec.Struct, frozen=True):
    """The next missed events, in the order in which they are to be sent; `next` is `None` at the end of the round."""

    upto: int
    pdus: list[Pdu]
    next: Place | None


def read_page(
    tx: ReadTransaction,
    server_name: ServerName,
    place: Place,
    *,
    done: Mapping[int, int],
    now_ts: int,
) -> Page:
    """The next page from `place` on. `done` says by room up to which position everything has been sent already."""
    if place.upto is None:
        place = _begin(tx, server_name, place.after)
    upto = place.upto or 0
    rooms, nids, looked_upto = list(place.rooms), list(place.event_nids), place.looked_upto
    while rooms and len(nids) < MOST_PDUS:
        room = rooms.pop(0)
        joined_at = _joined_at(tx, server_name, room, place.after)
        after = max(place.after, done.get(room.room_nid, 0), joined_at)
        newest = outbound_events.newest_of(tx, room.room_nid, after=after, upto=upto, most=place.per_room)
        # However much was missed; and who has come into the room since is sent what was there before.
        sticky = sticky_events.own(
            tx, room.room_nid, after=0 if joined_at else after, before=upto + 1, now_ts=now_ts
        )
        sent = set(newest)
        nids += (nid for nid in sticky if nid not in sent)
        nids += newest
    if not rooms and len(nids) < MOST_PDUS and looked_upto < upto:
        found, looked_upto = outbound_events.expulsions(
            tx, server_name, after=looked_upto, upto=upto, most=LOOKED_THROUGH
        )
        for expulsion in found:
            some = _upto_expulsion(tx, server_name, expulsion, place, done)
            nids += (nid for nid in some if nid not in nids)
    page, rest = nids[:MOST_PDUS], tuple(nids[MOST_PDUS:])
    is_last = not rooms and not rest and looked_upto >= upto
    following = None
    if not is_last:
        following = msgspec.structs.replace(
            place, rooms=tuple(rooms), event_nids=rest, looked_upto=looked_upto
        )
    return Page(upto, _pdus(tx, page, server_name, place.after), following)


def _upto_expulsion(
    tx: ReadTransaction,
    server_name: ServerName,
    expulsion: Expulsion,
    place: Place,
    done: Mapping[int, int],
) -> list[int]:
    """The expulsion, and what its user was to see before it, should the server no longer be in the room.

    Nobody else would give the server what the expulsion stands on.
    """
    room_nid = expulsion.room_nid
    if not expulsion.was_joined or room_servers.joined(tx, room_nid, server_name):
        return [expulsion.event_nid]
    after = outbound_events.came_in(tx, expulsion, after=max(place.after, done.get(room_nid, 0)))
    return outbound_events.newest_of(
        tx, room_nid, after=after, upto=expulsion.position, most=place.per_room
    ) or [expulsion.event_nid]


def missed_receipts(
    tx: ReadTransaction, server_name: ServerName, own_name: ServerName, *, after: int, upto: int
) -> list[ReceiptEdu]:
    """The newest receipts with `after < position <= upto` of this server's users in the rooms of the destination."""
    rows = outbound_edus.missed_receipts(tx, server_name, after=after, upto=upto, most=MOST_RECEIPTS)
    return [
        ReceiptEdu.of(row.position, row.room_id, row.receipt)
        for row in reversed(rows)
        if server_of(row.receipt.user_id) == own_name
    ]


def _begin(tx: ReadTransaction, server_name: ServerName, after: int) -> Place:
    rooms = tuple(outbound_events.missed_rooms(tx, server_name, after=after))
    per_room = min(MOST_PER_ROOM, max(LEAST_PER_ROOM, MOST_IN_ALL // max(1, len(rooms))))
    return Place(after, tx.stream_row().position, rooms, (), per_room, after)


def _joined_at(tx: ReadTransaction, server_name: ServerName, room: MissedRoom, after: int) -> int:
    """Where the server came into the room, if that was after a position; what came before was not for it."""
    new = [
        each.since_position
        for each in outbound_events.newcomers_of(tx, room.room_nid, after=after)
        if server_of(each.user_id) == server_name
    ]
    return min(new) if new and len(new) >= room.joined_members else 0


def _pdus(tx: ReadTransaction, event_nids: list[int], server_name: ServerName, after: int) -> list[Pdu]:
    """The events with these numbers, in this order, without those that come from the destination itself.

    What was sent before a position, `after`, counts as if that were there.
    """
    found = {event.event_nid: event for event in outbound_events.of_nids(tx, event_nids)}
    return [
        Pdu(max(found[nid].position, after), found[nid].room_nid, found[nid].event_id, found[nid].pdu)
        for nid in event_nids
        if nid in found and server_of(found[nid].sender) != server_name
    ]
