"""Leases: work that one process does at a time; whoever holds the row does it, until it expires."""

from sqlalchemy import bindparam, delete, or_
from sqlalchemy.dialects.postgresql import insert

from homeserver.database.statements import statement
from homeserver.database.tables.stream import leases
from homeserver.database.transactions import WriteTransaction

_l = leases.c
_new = insert(leases)
CLAIM = statement(
    _new.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": _new.excluded.owner, "expires_ts": _new.excluded.expires_ts},
        where=or_(_l.owner == _new.excluded.owner, _l.expires_ts < bindparam("now_ts")),
    ),
    [column.name for column in leases.columns],
)
RELEASE = statement(delete(leases).where(_l.name == bindparam("name"), _l.owner == bindparam("owner")))


def claim(tx: WriteTransaction, name: str, owner: str, *, now_ts: int, expires_ts: int) -> bool:
    """Take the lease, or prolong an own one; `False` if another holds it."""
    return tx.execute(CLAIM, name=name, owner=owner, now_ts=now_ts, expires_ts=expires_ts) > 0


def release(tx: WriteTransaction, name: str, owner: str) -> None:
    """Give an own lease back."""
    tx.execute(RELEASE, name=name, owner=owner)
