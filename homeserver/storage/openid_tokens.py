"""Tokens by which users show other services who they are, by their hash."""

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import openid_tokens
from homeserver.database.transactions import ReadTransaction, WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""

_o = openid_tokens.c
INSERT = insert_into(openid_tokens)
ONE = statement(select(_o.user_id, _o.expires_ts).where(_o.token_hash == bindparam("token_hash")))
PRUNE = statement(
    delete(openid_tokens).where(
        _o.token_hash.in_(
            select(_o.token_hash).where(_o.expires_ts <= bindparam("now_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def add(tx: WriteTransaction, token_hash: bytes, *, user_id: UserID, expires_ts: int, now_ts: int) -> None:
    """Add a token."""
    tx.execute(PRUNE, now_ts=now_ts)
    tx.execute(INSERT, token_hash=token_hash, user_id=user_id, expires_ts=expires_ts)


def user_of(tx: ReadTransaction, token_hash: bytes, *, now_ts: int) -> UserID | None:
    """Whose token it is; `None` if it is not known or has expired."""
    row = tx.one(ONE, token_hash=token_hash)
    return None if row is None or row[1] <= now_ts else UserID(row[0])
