"""Authorisation codes of the OAuth 2.0 API, by their hash: each is good once, and remembered for a day longer."""

import msgspec
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.oauth import oauth_codes
from homeserver.database.transactions import WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""

REMEMBERED_MS = 24 * 3_600_000


class AuthorizationCode(msgspec.Struct, frozen=True, kw_only=True):
    """What a code was given for. `family_hash` is of the refresh tokens that it was exchanged for, None before."""

    client_id: str
    redirect_uri: str
    code_challenge: str
    user_id: UserID
    device_id: DeviceID
    scope: str
    expires_ts: int
    family_hash: bytes | None = None


_c = oauth_codes.c
_COLUMNS = [_c[name] for name in AuthorizationCode.__struct_fields__]

INSERT = insert_into(oauth_codes)
LOCKED = statement(select(*_COLUMNS).where(_c.code_hash == bindparam("code_hash")).with_for_update())
USED = statement(
    update(oauth_codes)
    .where(_c.code_hash == bindparam("the_code"))
    .values(family_hash=bindparam("family_hash"))
)
DELETE_OF_USER = statement(
    delete(oauth_codes).where(_c.user_id == bindparam("user_id"), _c.family_hash.is_(None))
)
PRUNE = statement(
    delete(oauth_codes).where(
        _c.code_hash.in_(
            select(_c.code_hash).where(_c.expires_ts <= bindparam("before_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def add(tx: WriteTransaction, code_hash: bytes, code: AuthorizationCode, *, now_ts: int) -> None:
    """Add a code."""
    tx.execute(PRUNE, before_ts=now_ts - REMEMBERED_MS)
    tx.execute(INSERT, code_hash=code_hash, **msgspec.structs.asdict(code))


def lock(tx: WriteTransaction, code_hash: bytes) -> AuthorizationCode | None:
    """What the code was given for, used or expired though it may be; None if it is not known."""
    row = tx.one(LOCKED, code_hash=code_hash)
    return None if row is None else AuthorizationCode(**dict(zip(_NAMES, row, strict=True)))


def used(tx: WriteTransaction, code_hash: bytes, *, family_hash: bytes) -> None:
    """The code was exchanged for the refresh tokens of that family."""
    tx.execute(USED, the_code=code_hash, family_hash=family_hash)


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Delete the user's codes that have not been used."""
    tx.execute(DELETE_OF_USER, user_id=user_id)


_NAMES = tuple(AuthorizationCode.__struct_fields__)
