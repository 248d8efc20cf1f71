"""What the transaction functions of these tests write: published notes, and plain ones.

A published note is a row of account data (it has a position), a plain one an alias.
"""

from sqlalchemy import bindparam, insert, select

from homeserver.database.kinds import Kind
from homeserver.database.statements import insert_into, statement, upsert
from homeserver.database.tables.account_data import account_data
from homeserver.database.tables.rooms import aliases
from homeserver.database.transactions import ReadTransaction, WriteTransaction

AUTHOR = "@author:test.example"
TOPIC = "user:" + AUTHOR

PUBLISH = upsert(account_data, key=["user_id", "room_id", "type"])
PUBLISH_NEW = statement(insert(account_data), [column.name for column in account_data.columns])
PUBLISHED = statement(
    select(account_data.c.position, account_data.c.type)
    .where(account_data.c.position > bindparam("after"))
    .order_by(account_data.c.position)
)
KEEP = insert_into(aliases)
KEPT = statement(select(aliases.c.alias).order_by(aliases.c.alias))
KEPT_ONE = statement(select(aliases.c.creator).where(aliases.c.alias == bindparam("name")))
KEPT_LOCKED = statement(
    select(aliases.c.creator).where(aliases.c.alias == bindparam("name")).with_for_update()
)


def publish(
    tx: WriteTransaction,
    name: str,
    *,
    kind: Kind = Kind.ACCOUNT_DATA,
    new: bool = False,
    room_before: int = 0,
) -> None:
    """A note with a position; with `new` it fails at its insertion if there is one of the name."""
    tx.publish(
        PUBLISH_NEW if new else PUBLISH,
        kind=kind,
        to=[TOPIC],
        room_before=room_before,
        user_id=AUTHOR,
        room_id="",
        type=name,
        content=b"{}",
    )


def published(tx: ReadTransaction, after: int = -1) -> tuple[int, list[tuple[int, str]]]:
    """The stream's position, and the published notes after a position, in one snapshot."""
    return tx.stream_row().position, [(row[0], row[1]) for row in tx.all(PUBLISHED, after=after)]


def names(tx: ReadTransaction) -> set[str]:
    """The names of all published notes."""
    return {name for _, name in published(tx)[1]}


def keep(tx: WriteTransaction, name: str, text: str = "") -> None:
    """A plain note; fails if there is one of the name."""
    tx.execute(KEEP, alias=name, room_id="!room:test.example", creator=text, created_ts=0)


def kept(tx: ReadTransaction) -> set[str]:
    """The names of all plain notes."""
    return {row[0] for row in tx.all(KEPT)}


def text_of(tx: ReadTransaction, name: str) -> str | None:
    """A plain note's text."""
    text: str | None = tx.value(KEPT_ONE, name=name)
    return text


def position(tx: ReadTransaction) -> int:
    """The stream's position."""
    return tx.stream_row().position
