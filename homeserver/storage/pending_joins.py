"""Rooms that this server is about to enter: which process is at it, and of which version the room is said to be."""

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import bindparam, delete, exists, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import RoomID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.federation import pending_joins
from homeserver.database.tables.rooms import partial_joins
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_p = pending_joins.c
_new = insert(pending_joins)
CLAIM = statement(
    _new.on_conflict_do_update(
        index_elements=["room_id"],
        set_={
            "version": _new.excluded.version,
            "holder": _new.excluded.holder,
            "until_ts": _new.excluded.until_ts,
        },
        where=_p.until_ts <= bindparam("now_ts"),
    ).returning(_p.holder),
    [column.name for column in pending_joins.columns],
)
OF_LOCKED = statement(
    select(_p.version, _p.holder, _p.until_ts).where(_p.room_id == bindparam("room_id")).with_for_update()
)
VERSIONS = statement(
    select(_p.room_id, _p.version).where(
        in_list(_p.room_id, "room_ids"), _p.version.is_not(None), _p.until_ts > bindparam("now_ts")
    )
)
IS_ANY = statement(
    select(or_(exists().where(_p.until_ts > bindparam("now_ts")), exists(select(partial_joins.c.room_nid))))
)
SET_VERSION = statement(
    update(pending_joins)
    .where(_p.room_id == bindparam("the_room"), _p.holder == bindparam("the_holder"))
    .values(version=bindparam("the_version"))
)
KEEP = statement(
    update(pending_joins)
    .where(in_list(_p.room_id, "room_ids"), _p.holder == bindparam("the_holder"))
    .values(until_ts=bindparam("until_ts"))
)
REMOVE = statement(delete(pending_joins).where(_p.room_id == bindparam("room_id")))
PRUNE = statement(delete(pending_joins).where(_p.until_ts < bindparam("before_ts")))


class PendingJoin(msgspec.Struct, frozen=True):
    """A join that is going on; `version` is None until a server of the room has told it."""

    version: str | None
    holder: str
    until_ts: int


def claim(tx: WriteTransaction, room_id: RoomID, holder: str, *, now_ts: int, until_ts: int) -> bool:
    """Let `holder` enter the room, alone until `until_ts`; False if another is at it."""
    return bool(
        tx.returning(CLAIM, room_id=room_id, version=None, holder=holder, until_ts=until_ts, now_ts=now_ts)
    )


def lock(tx: WriteTransaction, room_id: RoomID) -> PendingJoin | None:
    """The join of the room, which goes on until the commit; or, past its time, one whose process has ended.

    The room's row in `rooms` must be locked, if there is one.
    """
    row = tx.one(OF_LOCKED, room_id=room_id)
    return None if row is None else PendingJoin(*row)


def versions(tx: ReadTransaction, room_ids: Collection[RoomID], *, now_ts: int) -> Mapping[RoomID, str]:
    """The versions of those of the rooms that are being entered, as far as they are told."""
    return {row[0]: row[1] for row in tx.all(VERSIONS, room_ids=sorted(room_ids), now_ts=now_ts)}


def is_any(tx: ReadTransaction, *, now_ts: int) -> bool:
    """Whether there is a room whose members are not known yet: one that is being entered, or that lacks members."""
    return bool(tx.value(IS_ANY, now_ts=now_ts))


def set_version(tx: WriteTransaction, room_id: RoomID, holder: str, version: str) -> bool:
    """Note of which version the room is said to be; False if `holder` has lost the room to another."""
    return tx.execute(SET_VERSION, the_room=room_id, the_holder=holder, the_version=version) > 0


def keep(tx: WriteTransaction, room_ids: Collection[RoomID], holder: str, *, until_ts: int) -> None:
    """No other gets what `holder` has of the rooms before `until_ts`."""
    tx.execute(KEEP, room_ids=sorted(room_ids), the_holder=holder, until_ts=until_ts)


def remove(tx: WriteTransaction, room_id: RoomID) -> None:
    """The room has been entered, or cannot be."""
    tx.execute(REMOVE, room_id=room_id)


def prune(tx: WriteTransaction, *, before_ts: int) -> int:
    """Forget joins whose processes have ended before `before_ts`; gives how many."""
    return tx.execute(PRUNE, before_ts=before_ts)
