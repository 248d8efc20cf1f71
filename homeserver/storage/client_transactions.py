"""What a client's request with a transaction id led to, kept for 24 hours."""

import hashlib

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.events import client_transactions
from homeserver.database.transactions import Question, ReadTransaction, WriteTransaction

_t = client_transactions.c
RESULT = statement(
    select(_t.result).where(
        _t.user_id == bindparam("user_id"),
        _t.device_id == bindparam("device_id"),
        _t.request == bindparam("request"),
    )
)
INSERT = insert_into(client_transactions)
LONGEST_KEY = 1000
"""In bytes. Transaction ids have no limit, and what an index holds has one (PostgreSQL: 2,704 bytes)."""

PRUNE = statement(delete(client_transactions).where(_t.created_ts < bindparam("before_ts")))


def question(user_id: UserID, device_id: str, request: str) -> Question:
    """What `result_of` asks."""
    return RESULT, {"user_id": user_id, "device_id": device_id, "request": _key(request)}


def result_of(tx: ReadTransaction, user_id: UserID, device_id: str, request: str) -> str | None:
    """What the same request of the same device led to, `None` if it has not been done."""
    query, params = question(user_id, device_id, request)
    result: str | None = tx.value(query, **params)
    return result


def remember(
    tx: WriteTransaction, user_id: UserID, device_id: str, request: str, *, result: str, now_ts: int
) -> None:
    """The request is done when this transaction is; `result` answers its repetitions."""
    tx.execute_later(
        INSERT, user_id=user_id, device_id=device_id, request=_key(request), result=result, created_ts=now_ts
    )


def prune(tx: WriteTransaction, *, before_ts: int) -> int:
    """Forget requests older than `before_ts`; gives how many."""
    return tx.execute(PRUNE, before_ts=before_ts)


def _key(request: str) -> str:
    """The request as it is, or its digest if it is long."""
    encoded = request.encode()
    return request if len(encoded) <= LONGEST_KEY else f"sha256 {hashlib.sha256(encoded).hexdigest()}"
