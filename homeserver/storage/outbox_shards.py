"""Shards of the outbox: which process sends to which part of the destinations, and how far each part is.

A process holds shards by leases, which it renews. Processes hold equal shares: whoever comes new says so by a row,
and those that hold more than their share then give some up.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from homeserver.database.statements import insert_into, statement, upsert
from homeserver.database.tables.federation import outbox_processes, outbox_shards
from homeserver.database.transactions import ReadTransaction, WriteTransaction

SHARDS: Final = 8
"""How many there are; never changes, since positions belong to them."""

_s = outbox_shards.c
_p = outbox_processes.c
ADD = insert_into(outbox_shards, ignore_conflict=True)
ALL_LOCKED = statement(
    select(_s.shard, _s.position, _s.holder, _s.lease_until_ts).order_by(_s.shard).with_for_update()
)
ALL = statement(select(_s.shard, _s.position))
TAKE = statement(
    update(outbox_shards)
    .where(_s.shard == bindparam("the_shard"))
    .values(holder=bindparam("new_holder"), lease_until_ts=bindparam("until_ts"))
)
RELEASE = statement(
    update(outbox_shards)
    .where(_s.shard == bindparam("the_shard"), _s.holder == bindparam("the_holder"))
    .values(holder=None, lease_until_ts=0)
)
ADVANCE = statement(
    update(outbox_shards)
    .where(
        _s.shard == bindparam("the_shard"),
        _s.holder == bindparam("the_holder"),
        _s.position < bindparam("new_position"),
    )
    .values(position=bindparam("new_position"))
)
SAY_ALIVE = upsert(outbox_processes, key=["holder"])
FORGET_DEAD = statement(delete(outbox_processes).where(_p.alive_until_ts < bindparam("now_ts")))
FORGET = statement(delete(outbox_processes).where(_p.holder == bindparam("holder")))
COUNT = statement(select(func.count()).select_from(outbox_processes))


class Tenure(msgspec.Struct, frozen=True):
    """What a process holds: the position of each shard, and how many shards are its fair share."""

    held: Mapping[int, int]
    share: int


def renew(tx: WriteTransaction, holder: str, *, now_ts: int, until_ts: int) -> Tenure:
    """Keep what `holder` holds until `until_ts`, and take what is free, up to the fair share."""
    _ensure(tx)
    tx.execute(FORGET_DEAD, now_ts=now_ts)
    tx.execute(SAY_ALIVE, holder=holder, alive_until_ts=until_ts)
    share = -(-SHARDS // max(1, tx.value(COUNT)))
    held: dict[int, int] = {}
    free: dict[int, int] = {}
    for shard, position, current, lease_until_ts in tx.all(ALL_LOCKED):
        if current == holder:
            held[shard] = position
        elif current is None or lease_until_ts < now_ts:
            free[shard] = position
    for shard in sorted(free)[: max(0, share - len(held))]:
        held[shard] = free[shard]
    for shard in sorted(held):
        tx.execute(TAKE, the_shard=shard, new_holder=holder, until_ts=until_ts)
    return Tenure(held, share)


def take_all(tx: WriteTransaction, holder: str) -> Tenure:
    """Hold all shards for good, whoever held them: for a server that is one process by nature."""
    _ensure(tx)
    held = {row[0]: row[1] for row in tx.all(ALL)}
    for shard in held:
        tx.execute(TAKE, the_shard=shard, new_holder=holder, until_ts=0)
    return Tenure(held, SHARDS)


def advance(tx: WriteTransaction, holder: str, positions: Mapping[int, int]) -> None:
    """Everything up to these positions has been sent; of shards that `holder` has lost, nothing is noted."""
    for shard in sorted(positions):
        tx.execute(ADVANCE, the_shard=shard, the_holder=holder, new_position=positions[shard])


def release(tx: WriteTransaction, holder: str, positions: Mapping[int, int]) -> None:
    """As `advance`, and others may take these shards at once."""
    advance(tx, holder, positions)
    for shard in sorted(positions):
        tx.execute(RELEASE, the_shard=shard, the_holder=holder)


def leave(tx: WriteTransaction, holder: str, positions: Mapping[int, int]) -> None:
    """As `release`, and `holder` counts no longer when shares are made."""
    release(tx, holder, positions)
    tx.execute(FORGET, holder=holder)


def positions(tx: ReadTransaction) -> dict[int, int]:
    """How far each shard is."""
    return {row[0]: row[1] for row in tx.all(ALL)}


def _ensure(tx: WriteTransaction) -> None:
    """There is a row for each shard; a new one begins at the stream's end."""
    if len(tx.all(ALL)) < SHARDS:
        position = tx.stream_row().position
        for shard in range(SHARDS):
            tx.execute(ADD, shard=shard, position=position, holder=None, lease_until_ts=0)
