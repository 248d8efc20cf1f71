"""Nonces of the shared-secret registration: each is good once."""

from sqlalchemy import bindparam, delete, select

from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import registration_nonces
from homeserver.database.transactions import WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""

_n = registration_nonces.c
INSERT = insert_into(registration_nonces)
TAKE = statement(delete(registration_nonces).where(_n.nonce == bindparam("nonce")).returning(_n.expires_ts))
PRUNE = statement(
    delete(registration_nonces).where(
        _n.nonce.in_(select(_n.nonce).where(_n.expires_ts <= bindparam("now_ts")).limit(EXPIRED_AT_ONCE))
    )
)


def add(tx: WriteTransaction, nonce: str, *, expires_ts: int, now_ts: int) -> None:
    """Add a nonce."""
    tx.execute(PRUNE, now_ts=now_ts)
    tx.execute(INSERT, nonce=nonce, expires_ts=expires_ts)


def take(tx: WriteTransaction, nonce: str, *, now_ts: int) -> bool:
    """Use the nonce up; False if it is not known or has expired."""
    rows = tx.returning(TAKE, nonce=nonce)
    return bool(rows) and rows[0][0] > now_ts
