"""PDUs that have been acknowledged and wait to be made part of their rooms, and which rooms have such PDUs."""

from collections.abc import Sequence

import attrs
import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.federation import incoming_pdus, incoming_rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction


@attrs.frozen(slots=True)
class IncomingPdu:
    """A PDU that waits; `failures` tells how often it could not be processed, `pdu` is its canonical JSON."""

    pdu_nid: int
    room_id: RoomID
    event_id: EventID
    origin: ServerName
    received_ts: int
    failures: int
    signed_by: frozenset[ServerName]
    pdu: bytes


@attrs.frozen(slots=True)
class IncomingRoom:
    """A room with PDUs that wait; `failures` tells how often in a row some of them could not be processed."""

    room_id: RoomID
    failures: int


_servers = msgspec.json.Decoder(frozenset[ServerName])

_p = incoming_pdus.c
_r = incoming_rooms.c
INSERT = insert_into(incoming_pdus, ignore_conflict=True)
INSERT_ROOM = insert_into(incoming_rooms, ignore_conflict=True)
COUNT = statement(
    select(func.count()).where(_p.room_id == bindparam("room_id"), _p.origin == bindparam("origin"))
)
FIRST = statement(
    select(*incoming_pdus.columns)
    .where(_p.room_id == bindparam("room_id"), _p.pdu_nid > bindparam("after"))
    .order_by(_p.pdu_nid)
    .limit(bindparam("most"))
)
ANY = statement(select(_p.pdu_nid).where(_p.room_id == bindparam("room_id")).limit(1))
REMOVE = statement(delete(incoming_pdus).where(_p.pdu_nid == bindparam("pdu_nid")))
REMOVE_ALL = statement(delete(incoming_pdus).where(_p.room_id == bindparam("room_id")))
FAIL = statement(
    update(incoming_pdus).where(_p.pdu_nid == bindparam("the_pdu")).values(failures=_p.failures + 1)
)
_ROOM = (_r.room_id, _r.failures)
CLAIM = statement(
    update(incoming_rooms)
    .where(
        _r.room_id
        == select(_r.room_id)
        .where(_r.due_ts <= bindparam("now_ts"))
        .order_by(_r.due_ts)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    .values(due_ts=bindparam("until_ts"))
    .returning(*_ROOM)
)
IS_WAITING = statement(select(_r.room_id).where(_r.room_id == bindparam("room_id")))
SET_DUE = statement(
    update(incoming_rooms)
    .where(_r.room_id == bindparam("the_room"))
    .values(due_ts=bindparam("due_ts"), failures=bindparam("failures"))
)
KEEP = statement(
    update(incoming_rooms).where(_r.room_id == bindparam("the_room")).values(due_ts=bindparam("due_ts"))
)
REMOVE_ROOM = statement(delete(incoming_rooms).where(_r.room_id == bindparam("room_id")))


def add(tx: WriteTransaction, pdu: IncomingPdu, *, now_ts: int) -> None:
    """Have a PDU wait, unless it does already; the row of its room in `rooms` must be locked."""
    tx.execute(
        INSERT,
        pdu_nid=pdu.pdu_nid,
        room_id=pdu.room_id,
        event_id=pdu.event_id,
        origin=pdu.origin,
        received_ts=pdu.received_ts,
        failures=0,
        signed_by=msgspec.json.encode(sorted(pdu.signed_by)),
        pdu=pdu.pdu,
    )
    tx.execute(INSERT_ROOM, room_id=pdu.room_id, due_ts=now_ts, failures=0)


def is_waiting(tx: ReadTransaction, room_id: RoomID) -> bool:
    """Whether any PDU of the room waits."""
    return tx.one(IS_WAITING, room_id=room_id) is not None


def count(tx: ReadTransaction, room_id: RoomID, origin: ServerName) -> int:
    """How many PDUs of the room that a server has sent wait."""
    return int(tx.value(COUNT, room_id=room_id, origin=origin))


def first(tx: ReadTransaction, room_id: RoomID, *, after: int, most: int) -> list[IncomingPdu]:
    """The first PDUs of the room with numbers above `after`, in the order of their arrival."""
    rows = tx.all(FIRST, room_id=room_id, after=after, most=most)
    return [
        IncomingPdu(pdu_nid, room, event_id, origin, received_ts, failures, _servers.decode(signed_by), pdu)
        for pdu_nid, room, event_id, origin, received_ts, failures, signed_by, pdu in rows
    ]


def remove(tx: WriteTransaction, pdu_nid: int) -> None:
    """The PDU has been processed, or given up."""
    tx.execute(REMOVE, pdu_nid=pdu_nid)


def note_failure(tx: WriteTransaction, pdu_nids: Sequence[int]) -> None:
    """These could not be processed."""
    for pdu_nid in pdu_nids:
        tx.execute(FAIL, the_pdu=pdu_nid)


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> IncomingRoom | None:
    """A room that is due, `None` if there is none; no other process gets it before `until_ts`."""
    rows = tx.returning(CLAIM, now_ts=now_ts, until_ts=until_ts)
    return IncomingRoom(*rows[0]) if rows else None


def keep(tx: WriteTransaction, room_id: RoomID, *, until_ts: int) -> None:
    """No other process gets the claimed room before `until_ts`."""
    tx.execute(KEEP, the_room=room_id, due_ts=until_ts)


def put_off(tx: WriteTransaction, room_id: RoomID, *, due_ts: int, failures: int) -> None:
    """Some PDUs of the claimed room are left, to be tried again."""
    tx.execute(SET_DUE, the_room=room_id, due_ts=due_ts, failures=failures)


def finish(tx: WriteTransaction, room_id: RoomID) -> bool:
    """Let go of a claimed room, if no PDUs of it are left; whether that is so. Its row in `rooms` must be locked."""
    if tx.one(ANY, room_id=room_id) is not None:
        return False
    tx.execute(REMOVE_ROOM, room_id=room_id)
    return True


def drop_room(tx: WriteTransaction, room_id: RoomID) -> None:
    """The server is not in the room any more: nothing waits."""
    tx.execute(REMOVE_ALL, room_id=room_id)
    tx.execute(REMOVE_ROOM, room_id=room_id)
