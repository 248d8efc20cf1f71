"""Connections of sliding sync: whose they are, and what their clients have been told, step by step."""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, delete, desc, select, update

from homeserver.core.identifiers import UserID
from homeserver.core.sliding_sync.told import Told
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.sliding_sync import sliding_connections, sliding_steps
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Connection(msgspec.Struct, frozen=True):
    """A connection: a device's, under the name that the client gives it. `used_ts` is when it was last heard of."""

    connection_nid: int
    user_id: UserID
    device_id: str
    conn_id: str
    used_ts: int


class Step(msgspec.Struct, frozen=True):
    """What a client was told that has the token with this step; `base` is the step whose record is complete."""

    connection_nid: int
    step_nid: int
    base_nid: int
    told: Told


_c = sliding_connections.c
_s = sliding_steps.c
CONNECTION = statement(
    select(*sliding_connections.columns).where(_c.connection_nid == bindparam("connection_nid"))
)
OF_DEVICE = statement(
    select(_c.connection_nid, _c.conn_id)
    .where(_c.user_id == bindparam("user_id"), _c.device_id == bindparam("device_id"))
    .order_by(desc(_c.used_ts), desc(_c.connection_nid))
)
STEP = statement(
    select(_s.base_nid, _s.told).where(
        _s.connection_nid == bindparam("connection_nid"), _s.step_nid == bindparam("step_nid")
    )
)
CHILDREN = statement(
    select(_s.step_nid)
    .where(_s.connection_nid == bindparam("connection_nid"), _s.parent_nid == bindparam("parent_nid"))
    .order_by(desc(_s.made_ts), desc(_s.step_nid))
)
INSERT = insert_into(sliding_connections)
INSERT_STEP = insert_into(sliding_steps)
USE = statement(
    update(sliding_connections)
    .where(_c.connection_nid == bindparam("the_connection"))
    .values(used_ts=bindparam("used_ts"))
)
DELETE_OTHERS = statement(
    delete(sliding_steps).where(
        _s.connection_nid == bindparam("connection_nid"),
        _s.step_nid != bindparam("step_nid"),
        _s.step_nid != bindparam("base_nid"),
        _s.parent_nid != bindparam("step_nid"),
    )
)
DELETE_STEPS = statement(
    delete(sliding_steps).where(
        _s.connection_nid == bindparam("connection_nid"), in_list(_s.step_nid, "step_nids")
    )
)
UNUSED = statement(
    select(_c.connection_nid)
    .where(_c.used_ts < bindparam("before_ts"))
    .order_by(_c.used_ts)
    .limit(bindparam("most"))
)
DELETE = (
    statement(delete(sliding_steps).where(in_list(_s.connection_nid, "connection_nids"))),
    statement(delete(sliding_connections).where(in_list(_c.connection_nid, "connection_nids"))),
)
OF_DEVICES = statement(
    select(_c.connection_nid).where(_c.user_id == bindparam("user_id"), in_list(_c.device_id, "device_ids"))
)


def connection(tx: ReadTransaction, connection_nid: int) -> Connection | None:
    """The connection with this number, `None` if there is none (any more)."""
    row = tx.one(CONNECTION, connection_nid=connection_nid)
    return None if row is None else Connection(*row)


def step(tx: ReadTransaction, connection_nid: int, step_nid: int) -> Step | None:
    """A step, `None` if it is not known (any more)."""
    row = tx.one(STEP, connection_nid=connection_nid, step_nid=step_nid)
    if row is None:
        return None
    base_nid, stored = row
    told: Told | None = tx.caches.told.get(step_nid)
    if told is None:
        if base_nid == step_nid:
            told = Told.decode(stored)
        else:
            base = step(tx, connection_nid, base_nid)
            if base is None:
                return None
            told = base.told.changed(stored)
        tx.remember(tx.caches.told, step_nid, told)
    return Step(connection_nid, step_nid, base_nid, told)


def beginning(tx: ReadTransaction, user_id: UserID, device_id: str, conn_id: str) -> Step | None:
    """The first step of the device's connection of this name; `None` if there is none, or it has gone on from there."""
    for nid, name in tx.all(OF_DEVICE, user_id=user_id, device_id=device_id):
        if name == conn_id:
            rows = tx.all(CHILDREN, connection_nid=nid, parent_nid=0)
            return step(tx, nid, rows[0][0]) if rows else None
    return None


def open_connection(tx: WriteTransaction, opened: Connection, *, most: int) -> None:
    """A new connection, in place of that of the same name.

    Of the device's others the longest unused ones are closed, so that it has no more than `most`.
    """
    others = tx.all(OF_DEVICE, user_id=opened.user_id, device_id=opened.device_id)
    replaced = [nid for nid, conn_id in others if conn_id == opened.conn_id]
    replaced += [nid for nid, conn_id in others if conn_id != opened.conn_id][most - 1 :]
    close(tx, replaced)
    tx.execute(INSERT, **msgspec.structs.asdict(opened))


def add_step(tx: WriteTransaction, new: Step, *, parent: Step | None, now_ts: int, most: int) -> None:
    """A step that follows from `parent`, `None` for the first one.

    Whoever has asked with `parent` has got it: what came before, and what else might have come instead of it, is
    forgotten. Of the steps that follow from it, only the newest `most` are kept.
    """
    changes = None
    if parent is not None:
        nids = {"connection_nid": new.connection_nid, "step_nid": parent.step_nid}
        tx.execute(DELETE_OTHERS, base_nid=parent.base_nid, **nids)
        rows = tx.all(CHILDREN, connection_nid=new.connection_nid, parent_nid=parent.step_nid)
        if len(rows) >= most:
            old = [row[0] for row in rows[most - 1 :]]
            tx.execute(DELETE_STEPS, connection_nid=new.connection_nid, step_nids=old)
        if new.base_nid == parent.base_nid:
            base = step(tx, new.connection_nid, parent.base_nid)
            changes = None if base is None else new.told.changes_since(base.told)
    if changes is None:
        new = msgspec.structs.replace(new, base_nid=new.step_nid, told=new.told.compact())
    tx.execute(
        INSERT_STEP,
        connection_nid=new.connection_nid,
        step_nid=new.step_nid,
        parent_nid=0 if parent is None else parent.step_nid,
        base_nid=new.base_nid,
        made_ts=now_ts,
        told=new.told.encode() if changes is None else changes,
    )
    tx.remember(tx.caches.told, new.step_nid, new.told)


def use(tx: WriteTransaction, connection_nid: int, *, now_ts: int) -> None:
    """The connection was heard of."""
    tx.execute(USE, the_connection=connection_nid, used_ts=now_ts)


def unused(tx: ReadTransaction, *, before_ts: int, most: int) -> list[int]:
    """Up to `most` connections that have not been heard of since."""
    return [row[0] for row in tx.all(UNUSED, before_ts=before_ts, most=most)]


def close(tx: WriteTransaction, connection_nids: list[int]) -> None:
    """Forget connections."""
    if connection_nids:
        for query in DELETE:
            tx.execute(query, connection_nids=connection_nids)


def close_all_of(tx: WriteTransaction, user_id: UserID, device_ids: Collection[str]) -> None:
    """Forget the connections of these devices of the user."""
    close(tx, [row[0] for row in tx.all(OF_DEVICES, user_id=user_id, device_ids=list(device_ids))])
