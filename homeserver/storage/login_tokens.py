"""Tokens for one login each (`m.login.token`), by their hash."""

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import login_tokens
from homeserver.database.transactions import WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""

_l = login_tokens.c
INSERT = insert_into(login_tokens)
TAKE = statement(
    delete(login_tokens).where(_l.token_hash == bindparam("token_hash")).returning(_l.user_id, _l.expires_ts)
)
DELETE_OF_USER = statement(delete(login_tokens).where(_l.user_id == bindparam("user_id")))
PRUNE = statement(
    delete(login_tokens).where(
        _l.token_hash.in_(
            select(_l.token_hash).where(_l.expires_ts <= bindparam("now_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def add(tx: WriteTransaction, token_hash: bytes, *, user_id: UserID, expires_ts: int, now_ts: int) -> None:
    """Add a token."""
    tx.execute(PRUNE, now_ts=now_ts)
    tx.execute(INSERT, token_hash=token_hash, user_id=user_id, expires_ts=expires_ts)


def take(tx: WriteTransaction, token_hash: bytes, *, now_ts: int) -> UserID | None:
    """Use the token up; whom it logs in, None if it is not known or has expired."""
    rows = tx.returning(TAKE, token_hash=token_hash)
    if not rows or rows[0][1] <= now_ts:
        return None
    return UserID(rows[0][0])


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Delete the user's tokens."""
    tx.execute(DELETE_OF_USER, user_id=user_id)
