"""Browsers in which somebody is logged in to this server's own pages, by the hash of their cookie."""

import msgspec
from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import users
from homeserver.database.tables.oauth import browser_sessions
from homeserver.database.transactions import ReadTransaction, WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""


class BrowserUser(msgspec.Struct, frozen=True):
    """Who is logged in."""

    user_id: UserID
    is_suspended: bool


_b = browser_sessions.c

INSERT = insert_into(browser_sessions)
USER = statement(
    select(_b.user_id, users.c.is_suspended)
    .join_from(browser_sessions, users, users.c.user_id == _b.user_id)
    .where(
        _b.session_hash == bindparam("session_hash"),
        _b.expires_ts > bindparam("now_ts"),
        users.c.is_deactivated == 0,
        users.c.is_locked == 0,
    )
)
DELETE = statement(delete(browser_sessions).where(_b.session_hash == bindparam("session_hash")))
DELETE_OF_USER = statement(delete(browser_sessions).where(_b.user_id == bindparam("user_id")))
PRUNE = statement(
    delete(browser_sessions).where(
        _b.session_hash.in_(
            select(_b.session_hash).where(_b.expires_ts <= bindparam("now_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def add(tx: WriteTransaction, session_hash: bytes, user_id: UserID, *, expires_ts: int, now_ts: int) -> None:
    """Begin a session."""
    tx.execute(PRUNE, now_ts=now_ts)
    tx.execute(INSERT, session_hash=session_hash, user_id=user_id, expires_ts=expires_ts)


def user_of(tx: ReadTransaction, session_hash: bytes, *, now_ts: int) -> BrowserUser | None:
    """Who is logged in; None if nobody is, or the account is closed or locked."""
    row = tx.one(USER, session_hash=session_hash, now_ts=now_ts)
    return None if row is None else BrowserUser(UserID(row[0]), bool(row[1]))


def remove(tx: WriteTransaction, session_hash: bytes) -> None:
    """End a session, if it is one."""
    tx.execute(DELETE, session_hash=session_hash)


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """End the user's sessions."""
    tx.execute(DELETE_OF_USER, user_id=user_id)
