"""Device codes of the OAuth 2.0 API, by their hash: logins that wait for somebody to type in a user code elsewhere."""

import msgspec
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.oauth import oauth_device_codes
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction

EXPIRED_AT_ONCE = 50
"""Each new row removes up to this many expired ones, so that none need be swept up."""

REMEMBERED_MS = 3_600_000
"""For so long a client is told that its code has expired."""


class DeviceCode(msgspec.Struct, frozen=True, kw_only=True):
    """A login that was begun. `polled_ts` is when its client last asked, `user_id` who has let it in."""

    user_code: str
    client_id: str
    device_id: DeviceID
    scope: str
    expires_ts: int
    interval_ms: int
    polled_ts: int | None = None
    user_id: UserID | None = None
    is_denied: bool = False


_c = oauth_device_codes.c
_COLUMNS = [_c[name] for name in DeviceCode.__struct_fields__]
_THIS = _c.code_hash == bindparam("the_code")
_OPEN = (_c.user_id.is_(None), _c.is_denied == 0, _c.expires_ts > bindparam("now_ts"))

INSERT = insert_into(oauth_device_codes, ignore_conflict=True)
CODE = statement(select(*_COLUMNS).where(_THIS))
LOCKED = statement(select(*_COLUMNS).where(_THIS).with_for_update())
OPEN = statement(select(*_COLUMNS).where(_c.user_code == bindparam("user_code"), *_OPEN))
DECIDE = statement(
    update(oauth_device_codes)
    .where(_c.user_code == bindparam("the_user_code"), *_OPEN)
    .values(user_id=bindparam("user_id"), is_denied=bindparam("is_denied"))
)
POLLED = statement(
    update(oauth_device_codes)
    .where(_THIS)
    .values(polled_ts=bindparam("polled_ts"), interval_ms=bindparam("interval_ms"))
)
DELETE = statement(delete(oauth_device_codes).where(_THIS))
DELETE_OF_USER = statement(delete(oauth_device_codes).where(_c.user_id == bindparam("user_id")))
PRUNE = statement(
    delete(oauth_device_codes).where(
        _c.code_hash.in_(
            select(_c.code_hash).where(_c.expires_ts <= bindparam("before_ts")).limit(EXPIRED_AT_ONCE)
        )
    )
)


def add(tx: WriteTransaction, code_hash: bytes, code: DeviceCode, *, now_ts: int) -> bool:
    """Add a code; False if its user code is another's."""
    tx.execute(PRUNE, before_ts=now_ts - REMEMBERED_MS)
    values = {**msgspec.structs.asdict(code), "is_denied": int(code.is_denied)}
    return tx.execute(INSERT, code_hash=code_hash, **values) == 1


def find(tx: ReadTransaction, code_hash: bytes) -> DeviceCode | None:
    """The login of a device code, expired or not; None if it is not known."""
    return _code(tx.one(CODE, the_code=code_hash))


def lock(tx: WriteTransaction, code_hash: bytes) -> DeviceCode | None:
    """As `find`; nobody else takes it until the commit."""
    return _code(tx.one(LOCKED, the_code=code_hash))


def of_user_code(tx: ReadTransaction, user_code: str, *, now_ts: int) -> DeviceCode | None:
    """The login that waits for that user code; None if none does (any more)."""
    return _code(tx.one(OPEN, user_code=user_code, now_ts=now_ts))


def decide(
    tx: WriteTransaction, user_code: str, user_id: UserID | None, *, is_denied: bool, now_ts: int
) -> bool:
    """Let the login in as that user, or deny it; False if it does not wait for that (any more)."""
    decided = tx.execute(
        DECIDE, the_user_code=user_code, user_id=user_id, is_denied=int(is_denied), now_ts=now_ts
    )
    return decided == 1


def polled(tx: WriteTransaction, code_hash: bytes, *, now_ts: int, interval_ms: int) -> None:
    """The client has asked, and is to wait that long."""
    tx.execute(POLLED, the_code=code_hash, polled_ts=now_ts, interval_ms=interval_ms)


def remove(tx: WriteTransaction, code_hash: bytes) -> None:
    """Delete a code."""
    tx.execute(DELETE, the_code=code_hash)


def remove_of_user(tx: WriteTransaction, user_id: UserID) -> None:
    """Delete the codes that the user has let in, and that have not been used."""
    tx.execute(DELETE_OF_USER, user_id=user_id)


def _code(row: Row | None) -> DeviceCode | None:
    if row is None:
        return None
    values = dict(zip(_NAMES, row, strict=True))
    return DeviceCode(**{**values, "is_denied": bool(values["is_denied"])})


_NAMES = tuple(DeviceCode.__struct_fields__)
