"""PDUs that have been acknowledged and wait to be made part of their rooms, and which rooms have such PDUs."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import bindparam, case, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.federation import incoming_pdus, incoming_rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class IncomingPdu(msgspec.Struct, frozen=True):
    """A PDU that waits; `failures` tells how often it could not be processed, `pdu` is its canonical JSON.

    `signed_by` are the servers whose signatures have been verified.
    """

    pdu_nid: int
    room_id: RoomID
    event_id: EventID
    origin: ServerName
    received_ts: int
    failures: int
    signed_by: frozenset[ServerName]
    pdu: bytes


_servers = msgspec.json.Decoder(frozenset[ServerName])

_p = incoming_pdus.c
_r = incoming_rooms.c
INSERT = insert_into(incoming_pdus, ignore_conflict=True)
_new_room = insert(incoming_rooms)
INSERT_ROOM = statement(
    _new_room.on_conflict_do_update(
        index_elements=["room_id"],
        set_={
            "due_ts": case(
                (_r.due_ts < _new_room.excluded.due_ts, _r.due_ts), else_=_new_room.excluded.due_ts
            )
        },
    ),
    [column.name for column in incoming_rooms.columns],
)
COUNT = statement(
    select(func.count()).where(_p.room_id == bindparam("room_id"), _p.origin == bindparam("origin"))
)
COUNT_ALL = statement(select(func.count()).where(_p.room_id == bindparam("room_id")))
COUNT_EVERYTHING = statement(select(func.count()).select_from(incoming_pdus))
ORIGINS = statement(select(_p.origin).where(_p.room_id == bindparam("room_id")).distinct())
REMOVE_OF = statement(
    delete(incoming_pdus).where(_p.room_id == bindparam("room_id"), _p.origin == bindparam("origin"))
)
FIRST = statement(
    select(_p.pdu_nid, _p.room_id, _p.event_id, _p.origin, _p.received_ts, _p.failures, _p.signed_by, _p.pdu)
    .where(
        _p.room_id == bindparam("room_id"),
        _p.due_ts <= bindparam("now_ts"),
        _p.pdu_nid > bindparam("after"),
    )
    .order_by(_p.pdu_nid)
    .limit(bindparam("most"))
)
WAITING = statement(
    select(_p.pdu_nid)
    .where(_p.room_id == bindparam("room_id"), _p.failures == 0, _p.due_ts <= bindparam("now_ts"))
    .limit(1)
)
NEXT_DUE = statement(select(func.min(_p.due_ts)).where(_p.room_id == bindparam("room_id")))
REMOVE = statement(delete(incoming_pdus).where(in_list(_p.pdu_nid, "pdu_nids")))
REMOVE_ALL = statement(delete(incoming_pdus).where(_p.room_id == bindparam("room_id")))
PUT_OFF = statement(
    update(incoming_pdus)
    .where(_p.pdu_nid == bindparam("the_pdu"))
    .values(failures=bindparam("the_failures"), due_ts=bindparam("the_due_ts"))
)
HASTEN = statement(
    update(incoming_pdus).where(_p.room_id == bindparam("the_room")).values(due_ts=bindparam("the_due_ts"))
)
CLAIM = statement(
    update(incoming_rooms)
    .where(
        _r.room_id
        == select(_r.room_id)
        .where(_r.due_ts <= bindparam("now_ts"), _r.lease_until_ts <= bindparam("now_ts"))
        .order_by(_r.due_ts)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    .values(lease_until_ts=bindparam("until_ts"))
    .returning(_r.room_id)
)
KEEP = statement(
    update(incoming_rooms)
    .where(_r.room_id == bindparam("the_room"))
    .values(lease_until_ts=bindparam("until_ts"))
)
RELEASE = statement(
    update(incoming_rooms)
    .where(_r.room_id == bindparam("the_room"))
    .values(lease_until_ts=0, due_ts=bindparam("the_due_ts"))
)
REMOVE_ROOM = statement(delete(incoming_rooms).where(_r.room_id == bindparam("room_id")))


def add(tx: WriteTransaction, pdu: IncomingPdu, *, due_ts: int | None = None) -> None:
    """Have a PDU wait, unless it does already; it is due at once, or at `due_ts`.

    The row of its room in `rooms` must be locked, or that of its join in `pending_joins`.
    """
    due_ts = pdu.received_ts if due_ts is None else due_ts
    tx.execute(
        INSERT,
        pdu_nid=pdu.pdu_nid,
        room_id=pdu.room_id,
        event_id=pdu.event_id,
        origin=pdu.origin,
        received_ts=pdu.received_ts,
        failures=0,
        due_ts=due_ts,
        signed_by=msgspec.json.encode(sorted(pdu.signed_by)),
        pdu=pdu.pdu,
    )
    tx.execute(INSERT_ROOM, room_id=pdu.room_id, due_ts=due_ts, lease_until_ts=0)


def are_waiting(tx: ReadTransaction, room_id: RoomID, *, now_ts: int) -> bool:
    """Whether any PDU of the room waits that has not been put off."""
    return tx.one(WAITING, room_id=room_id, now_ts=now_ts) is not None


def count(tx: ReadTransaction, room_id: RoomID, origin: ServerName) -> int:
    """How many PDUs of the room that a server has sent wait."""
    return int(tx.value(COUNT, room_id=room_id, origin=origin))


def count_all(tx: ReadTransaction, room_id: RoomID) -> int:
    """How many PDUs of the room wait."""
    return int(tx.value(COUNT_ALL, room_id=room_id))


def count_everything(tx: ReadTransaction) -> int:
    """How many PDUs wait, in all rooms."""
    return int(tx.value(COUNT_EVERYTHING))


def origins(tx: ReadTransaction, room_id: RoomID) -> list[ServerName]:
    """The servers that have sent the PDUs of the room that wait."""
    return [row[0] for row in tx.all(ORIGINS, room_id=room_id)]


def due(tx: ReadTransaction, room_id: RoomID, *, after: int, most: int, now_ts: int) -> list[IncomingPdu]:
    """The first PDUs of the room that are due, with numbers above `after`, in the order of their arrival."""
    return [
        IncomingPdu(pdu_nid, room, event_id, origin, received_ts, failures, _servers.decode(signed_by), pdu)
        for pdu_nid, room, event_id, origin, received_ts, failures, signed_by, pdu in tx.all(
            FIRST, room_id=room_id, after=after, most=most, now_ts=now_ts
        )
    ]


def remove(tx: WriteTransaction, pdu_nids: Collection[int]) -> None:
    """These have been processed, or given up."""
    tx.execute(REMOVE, pdu_nids=sorted(pdu_nids))


def put_off(tx: WriteTransaction, put_off: Mapping[int, tuple[int, int]]) -> None:
    """By their numbers, how often PDUs have failed now, and when they are to be tried again."""
    for pdu_nid, (failures, due_ts) in put_off.items():
        tx.execute(PUT_OFF, the_pdu=pdu_nid, the_failures=failures, the_due_ts=due_ts)


def hasten(tx: WriteTransaction, room_id: RoomID, *, due_ts: int) -> None:
    """PDUs of the room are due at that moment; its row in `rooms` must be locked."""
    tx.execute(INSERT_ROOM, room_id=room_id, due_ts=due_ts, lease_until_ts=0)


def hasten_all(tx: WriteTransaction, room_id: RoomID, *, due_ts: int) -> None:
    """All PDUs of the room are due at that moment, whatever they were put off for; its row must be locked."""
    if tx.execute(HASTEN, the_room=room_id, the_due_ts=due_ts):
        hasten(tx, room_id, due_ts=due_ts)


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> RoomID | None:
    """A room that is due, `None` if there is none; no other process gets it before `until_ts`."""
    rows = tx.returning(CLAIM, now_ts=now_ts, until_ts=until_ts)
    return rows[0][0] if rows else None


def keep(tx: WriteTransaction, room_id: RoomID, *, until_ts: int) -> None:
    """No other process gets the claimed room before `until_ts`."""
    tx.execute(KEEP, the_room=room_id, until_ts=until_ts)


def release(tx: WriteTransaction, room_id: RoomID) -> None:
    """Let go of a claimed room until the next of its PDUs is due. Its row in `rooms` must be locked."""
    due_ts = tx.value(NEXT_DUE, room_id=room_id)
    if due_ts is None:
        tx.execute(REMOVE_ROOM, room_id=room_id)
    else:
        tx.execute(RELEASE, the_room=room_id, the_due_ts=due_ts)


def drop_of(tx: WriteTransaction, room_id: RoomID, origin: ServerName) -> None:
    """What a server has sent of the room does not wait any more."""
    tx.execute(REMOVE_OF, room_id=room_id, origin=origin)


def drop_room(tx: WriteTransaction, room_id: RoomID) -> None:
    """The server is not in the room any more: nothing waits."""
    tx.execute(REMOVE_ALL, room_id=room_id)
    tx.execute(REMOVE_ROOM, room_id=room_id)
