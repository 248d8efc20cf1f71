"""What the transactions of other servers were answered with, for the case that they come again."""

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import ServerName
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.federation import federation_transactions
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_t = federation_transactions.c
INSERT = insert_into(federation_transactions, ignore_conflict=True)
OF = statement(select(_t.response).where(_t.origin == bindparam("origin"), _t.txn_id == bindparam("txn_id")))
PRUNE = statement(delete(federation_transactions).where(_t.received_ts < bindparam("before_ts")))


def response_to(tx: ReadTransaction, origin: ServerName, txn_id: str) -> bytes | None:
    """What the transaction was answered with (JSON), `None` if it is new."""
    response: bytes | None = tx.value(OF, origin=origin, txn_id=txn_id)
    return response


def remember(tx: WriteTransaction, origin: ServerName, txn_id: str, response: bytes, *, now_ts: int) -> None:
    """The transaction has been dealt with."""
    tx.execute(INSERT, origin=origin, txn_id=txn_id, response=response, received_ts=now_ts)


def prune(tx: WriteTransaction, *, before_ts: int) -> None:
    """Forget transactions that came before this moment (milliseconds)."""
    tx.execute(PRUNE, before_ts=before_ts)
