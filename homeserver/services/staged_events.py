"""Staged PDUs as their worker takes them: read some at a time, put in order, stored together, concluded."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID, ServerName
from homeserver.core.json import decode_object
from homeserver.core.room_versions import RoomVersion, get_room_version
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.judge import Verdict
from homeserver.rooms.missing import parents_first
from homeserver.rooms.pdu_checks import CheckedPdu
from homeserver.rooms.persist import MOST_EXTREMITIES, take_at_once
from homeserver.rooms.room_changes import RoomChanges
from homeserver.storage import incoming_pdus, room_servers, rooms
from homeserver.storage.incoming_pdus import IncomingPdu

BATCH: Final = 50
"""PDUs of a room that are read at a time."""


class Staged(msgspec.Struct, frozen=True):
    """A PDU that waits, and the event that it is."""

    pdu: IncomingPdu
    checked: CheckedPdu

    @property
    def event(self) -> Event:
        """The event."""
        return self.checked.event


class Batch(msgspec.Struct, frozen=True):
    """PDUs of a room that are due; `version` is None if the room is gone."""

    version: RoomVersion | None
    pdus: Sequence[IncomingPdu]


def read_batch(tx: ReadTransaction, room_id: RoomID, *, after: int, now_ts: int) -> Batch:
    """The next PDUs of the room that are due."""
    room = rooms.of(tx, room_id)
    pdus = incoming_pdus.due(tx, room_id, after=after, most=BATCH, now_ts=now_ts)
    return Batch(None if room is None else get_room_version(room.version), pdus)


def in_order(pdus: Sequence[IncomingPdu], version: RoomVersion) -> list[Staged]:
    """The PDUs in the order of their arrival, but each after its parents among them."""
    by_id = {pdu.event_id: pdu for pdu in pdus}
    checked = {
        pdu.event_id: CheckedPdu(
            Event.from_pdu(decode_object(pdu.pdu), version, event_id=pdu.event_id), pdu.pdu, pdu.signed_by
        )
        for pdu in pdus
    }
    order = [Staged(by_id.pop(each.event.event_id), each) for each in parents_first(checked)]
    # What is left is in a circle, and will be found to be so.
    return [*order, *(Staged(pdu, checked[event_id]) for event_id, pdu in by_id.items())]


def take_together(
    tx: WriteTransaction, room_id: RoomID, staged: Sequence[Staged], server_name: ServerName
) -> list[Verdict]:
    """Judge and store the first of the PDUs, up to one that takes more than a few look-ups; gives their verdicts.

    Those do not wait any more.
    """
    room = rooms.lock(tx, room_id)
    if room is None or not room.is_held or not room_servers.joined(tx, room.room_nid, server_name):
        return []
    changes = RoomChanges(tx, room, server_name)
    verdicts: list[Verdict] = []
    for each in staged:
        verdict = take_at_once(changes, each.checked, received_ts=each.pdu.received_ts)
        if verdict is None:
            break
        verdicts.append(verdict)
    if verdicts:
        changes.publish()
        incoming_pdus.remove(tx, [each.pdu.pdu_nid for each in staged[: len(verdicts)]])
    return verdicts


def conclude(tx: WriteTransaction, done: Sequence[int], put_off: Mapping[int, tuple[int, int]]) -> None:
    """Note what became of PDUs: which are done with, and of others how often they have failed and when they are due."""
    if done:
        incoming_pdus.remove(tx, done)
    incoming_pdus.put_off(tx, put_off)


def conclude_one(
    tx: WriteTransaction, room_id: RoomID, done: Sequence[int], put_off: Mapping[int, tuple[int, int]]
) -> None:
    """As `conclude`, beside the process that the room is leased to, if it is."""
    # Who lets go of the room holds the same lock: what is due now is not overlooked.
    rooms.lock(tx, room_id)
    conclude(tx, done, put_off)
    if put_off:
        incoming_pdus.hasten(tx, room_id, due_ts=min(due_ts for _, due_ts in put_off.values()))


def release(tx: WriteTransaction, room_id: RoomID) -> bool:
    """Let go of a room until the next of its PDUs is due; whether it has too many extremities."""
    # Who stages PDUs holds the same lock: none is overlooked.
    room = rooms.lock(tx, room_id)
    incoming_pdus.release(tx, room_id)
    return room is not None and len(room.extremities) > MOST_EXTREMITIES
