"""Filters that clients have uploaded. They never change: a filter's ID is made from its content."""

from sqlalchemy import bindparam, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.account_data import filters
from homeserver.database.transactions import ReadTransaction, WriteTransaction

FILTER = statement(
    select(filters.c.filter).where(
        filters.c.user_id == bindparam("user_id"), filters.c.filter_id == bindparam("filter_id")
    )
)
INSERT = insert_into(filters, ignore_conflict=True)


def of(tx: ReadTransaction, user_id: UserID, filter_id: str) -> bytes | None:
    """The user's filter of that ID as JSON, `None` if there is none."""
    found: bytes | None = tx.value(FILTER, user_id=user_id, filter_id=filter_id)
    return found


def add(tx: WriteTransaction, user_id: UserID, filter_id: str, filter: bytes) -> None:
    """Keep a filter; the same one may be added again."""
    tx.execute(INSERT, user_id=user_id, filter_id=filter_id, filter=filter)
