"""Rooms that were entered with a state that lacks most members, until the rest has been fetched.

A row stays when that is done: it tells since when the state of the room has been complete.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, exists, func, or_, select, update

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.database.statements import claim_due, in_list, insert_into, statement
from homeserver.database.tables.rooms import partial_joins
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class PartialJoin(msgspec.Struct, frozen=True):
    """The join `join_id` by which the room was entered, and the servers that may be asked for its state, best first.

    `position` is one before that of the join; `failures` tells how often nobody had the state.
    """

    room_nid: int
    room_id: RoomID
    join_nid: int
    join_id: EventID
    position: int
    servers: tuple[ServerName, ...]
    begun_ts: int
    failures: int


_servers = msgspec.json.Decoder(tuple[ServerName, ...])

_p = partial_joins.c
INSERT = insert_into(partial_joins)
CLOSE = statement(
    update(partial_joins)
    .where(_p.room_nid == bindparam("the_room"), _p.due_ts.is_not(None))
    .values(due_ts=None)
)
END = statement(
    update(partial_joins)
    .where(_p.room_nid == bindparam("the_room"), _p.completed_position.is_(None), _p.ended_position.is_(None))
    .values(due_ts=None, ended_position=bindparam("the_end"))
)
CLAIM = claim_due(
    partial_joins,
    _p.join_nid,
    *(_p.room_nid, _p.room_id, _p.join_nid, _p.join_id, _p.position, _p.servers, _p.begun_ts, _p.failures),
)
IS_ANY_DUE = statement(select(exists().where(_p.due_ts <= bindparam("now_ts"))))
KEEP = statement(
    update(partial_joins)
    .where(_p.room_nid == bindparam("the_room"), _p.join_nid == bindparam("the_join"), _p.due_ts.is_not(None))
    .values(due_ts=bindparam("until_ts"))
)
RELEASE_ALL = statement(
    update(partial_joins).where(_p.due_ts > bindparam("now_ts")).values(due_ts=bindparam("until_ts"))
)
FAIL = statement(
    update(partial_joins)
    .where(_p.room_nid == bindparam("the_room"), _p.join_nid == bindparam("the_join"), _p.due_ts.is_not(None))
    .values(due_ts=bindparam("until_ts"), failures=_p.failures + 1)
)
COMPLETE = statement(
    update(partial_joins)
    .where(_p.room_nid == bindparam("the_room"), _p.join_nid == bindparam("the_join"))
    .values(due_ts=None, completed_position=bindparam("position"))
)
"""Takes `position` when it is published."""
UNDERWAY = statement(select(_p.join_nid).where(_p.room_nid == bindparam("room_nid"), _p.due_ts.is_not(None)))
FAILURES = statement(select(_p.failures).where(_p.room_nid == bindparam("room_nid"), _p.due_ts.is_not(None)))
COMPLETED = statement(select(func.max(_p.completed_position)).where(_p.room_nid == bindparam("room_nid")))
COMPLETED_AFTER = statement(
    select(_p.room_nid)
    .where(in_list(_p.room_nid, "room_nids"), _p.completed_position > bindparam("after"))
    .distinct()
)
COMPLETED_BETWEEN = statement(
    select(_p.room_nid).where(
        _p.completed_position > bindparam("after"), _p.completed_position <= bindparam("upto")
    )
)
UNSURE = statement(
    select(_p.join_nid)
    .where(
        _p.room_nid == bindparam("room_nid"),
        _p.completed_position.is_(None),
        _p.position < bindparam("at"),
        or_(_p.ended_position.is_(None), _p.ended_position >= bindparam("at")),
    )
    .limit(1)
)


def begin(tx: WriteTransaction, join: PartialJoin, *, due_ts: int) -> None:
    """The rest of the state is to be fetched from `due_ts` on."""
    tx.execute(
        INSERT,
        room_nid=join.room_nid,
        room_id=join.room_id,
        join_nid=join.join_nid,
        join_id=join.join_id,
        position=join.position,
        servers=msgspec.json.encode(join.servers),
        begun_ts=join.begun_ts,
        due_ts=due_ts,
        failures=join.failures,
        completed_position=None,
        ended_position=None,
    )


def close(tx: WriteTransaction, room_nid: int) -> None:
    """Nothing is to be fetched for the room any more: its state will never be complete."""
    tx.execute(CLOSE, the_room=room_nid)


def end(tx: WriteTransaction, room_nid: int, position: int) -> None:
    """As `close`, and what comes after the position has nothing to do with what was before."""
    tx.execute(END, the_room=room_nid, the_end=position)


def claim(tx: WriteTransaction, *, now_ts: int, until_ts: int) -> PartialJoin | None:
    """A join that is due, `None` if there is none; no other process gets it before `until_ts`."""
    for room_nid, room_id, join_nid, join_id, position, servers, begun_ts, failures in tx.returning(
        CLAIM, now_ts=now_ts, until_ts=until_ts
    ):
        return PartialJoin(
            room_nid, room_id, join_nid, join_id, position, _servers.decode(servers), begun_ts, failures
        )
    return None


def is_any_due(tx: ReadTransaction, *, now_ts: int) -> bool:
    """Whether there is something to `claim`."""
    return bool(tx.value(IS_ANY_DUE, now_ts=now_ts))


def keep(tx: WriteTransaction, join: PartialJoin, *, until_ts: int) -> None:
    """No other process gets the claimed join before `until_ts`."""
    tx.execute(KEEP, the_room=join.room_nid, the_join=join.join_nid, until_ts=until_ts)


def release_all(tx: WriteTransaction, *, now_ts: int) -> None:
    """No process is at any of them: all are due."""
    tx.execute(RELEASE_ALL, now_ts=now_ts, until_ts=now_ts)


def fail(tx: WriteTransaction, join: PartialJoin, *, due_ts: int) -> None:
    """Nobody had the state; it is to be tried again at `due_ts`."""
    tx.execute(FAIL, the_room=join.room_nid, the_join=join.join_nid, until_ts=due_ts)


def underway(tx: ReadTransaction, room_nid: int) -> int | None:
    """The number of the join whose state is being fetched; `None` if none is, or it is complete."""
    join_nid: int | None = tx.value(UNDERWAY, room_nid=room_nid)
    return join_nid


def failures(tx: ReadTransaction, room_nid: int) -> int | None:
    """How often nobody had the state that is being fetched; `None` if none is."""
    count: int | None = tx.value(FAILURES, room_nid=room_nid)
    return count


def is_unsure(tx: ReadTransaction, room_nid: int, position: int | None) -> bool:
    """Whether the room's states at a position lack members; outside of the timeline (`None`) none do."""
    return position is not None and tx.one(UNSURE, room_nid=room_nid, at=position) is not None


def completed_at(tx: ReadTransaction, room_nid: int) -> int | None:
    """Where the state of a room that had been partial became complete; `None` for all others."""
    position: int | None = tx.value(COMPLETED, room_nid=room_nid)
    return position


def completed_after(tx: ReadTransaction, room_nids: Collection[int], position: int) -> set[int]:
    """Those of the rooms whose states became complete after a position."""
    return {row[0] for row in tx.all(COMPLETED_AFTER, room_nids=sorted(room_nids), after=position)}


def completed_between(tx: ReadTransaction, *, after: int, upto: int) -> set[int]:
    """The rooms whose states became complete with `after < position <= upto`."""
    return {row[0] for row in tx.all(COMPLETED_BETWEEN, after=after, upto=upto)}
