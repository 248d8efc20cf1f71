"""Registration tokens: who knows one may make an account."""

from sqlalchemy import bindparam, or_, select, update

from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import registration_tokens
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_t = registration_tokens.c
_VALID = (
    or_(_t.uses_allowed.is_(None), _t.completed < _t.uses_allowed),
    or_(_t.expires_ts.is_(None), _t.expires_ts > bindparam("now_ts")),
)
INSERT = insert_into(registration_tokens, ignore_conflict=True)
VALID = statement(select(_t.token).where(_t.token == bindparam("token"), *_VALID))
USE = statement(
    update(registration_tokens)
    .where(_t.token == bindparam("the_token"), *_VALID)
    .values(completed=_t.completed + 1)
)


def add(tx: WriteTransaction, token: str, *, uses_allowed: int | None, expires_ts: int | None) -> bool:
    """Add a token (None: no limit); False if it is there already."""
    return tx.execute(INSERT, token=token, uses_allowed=uses_allowed, completed=0, expires_ts=expires_ts) == 1


def is_valid(tx: ReadTransaction, token: str, *, now_ts: int) -> bool:
    """Whether an account could be made with the token now."""
    return tx.one(VALID, token=token, now_ts=now_ts) is not None


def use(tx: WriteTransaction, token: str, *, now_ts: int) -> bool:
    """An account is made with the token; False if it is not valid."""
    return tx.execute(USE, the_token=token, now_ts=now_ts) == 1
