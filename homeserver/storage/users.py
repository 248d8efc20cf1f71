"""Accounts: who exists, how they may be used, and their password hashes."""

from collections.abc import Collection
from typing import TypeAlias

import msgspec
from sqlalchemy import and_, bindparam, delete, insert, select, update

from homeserver.core.identifiers import UserID
from homeserver.core.json import encode
from homeserver.core.topics import session_topic
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.account_data import account_data, filters, push_rules
from homeserver.database.tables.accounts import profiles, users
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `is_departing`: deactivated, but not yet out of all rooms; `user_type`: None for people."""

    user_id: UserID
    created_ts: int
    is_admin: bool
    is_guest: bool
    is_deactivated: bool
    is_erased: bool
    is_locked: bool
    is_suspended: bool
    is_departing: bool
    user_type: str | None
    appservice_id: str | None


PasswordHash: TypeAlias = "str | None"
"""None: nobody logs in to that account by password."""

_u = users.c
_FIELDS = User.__struct_fields__
_FLAGS = {name for name in _FIELDS if name.startswith("is_")}
_COLUMNS = [_u[name] for name in _FIELDS]
_ACTIVE = _u.is_deactivated == 0

USER = statement(select(*_COLUMNS).where(_u.user_id == bindparam("user_id")))
PAGE = statement(
    select(*_COLUMNS)
    .where(_u.user_id > bindparam("after"), _u.is_deactivated <= bindparam("most_deactivated"))
    .order_by(_u.user_id)
    .limit(bindparam("limit"))
)
EXISTS = statement(select(_u.user_id).where(_u.user_id == bindparam("user_id")))
# The exact user ID goes before its lower-case form: `@` + upper case sorts first.
PASSWORD_HASH = statement(
    select(_u.user_id, _u.password_hash)
    .where(_u.user_id.in_([bindparam("user_id"), bindparam("folded")]), _ACTIVE)
    .order_by(_u.user_id)
    .limit(1)
)
ACTIVE_AMONG = statement(select(_u.user_id).where(in_list(_u.user_id, "user_ids"), _ACTIVE))
INSERT = insert_into(users, ignore_conflict=True)
INSERT_DISPLAY_NAME = statement(insert(profiles), ["user_id", "field", "value"])
SET_PASSWORD_HASH = statement(
    update(users)
    .where(_u.user_id == bindparam("the_user"), _ACTIVE)
    .values(password_hash=bindparam("password_hash"))
)
REPLACE_PASSWORD_HASH = statement(
    update(users)
    .where(_u.user_id == bindparam("the_user"), _u.password_hash == bindparam("old_hash"))
    .values(password_hash=bindparam("password_hash"))
)
UPGRADE_GUEST = statement(
    update(users)
    .where(and_(_u.user_id == bindparam("the_user"), _u.is_guest == 1, _ACTIVE))
    .values(password_hash=bindparam("password_hash"), is_guest=0)
)
SET_ADMIN = statement(
    update(users).where(_u.user_id == bindparam("the_user"), _ACTIVE).values(is_admin=bindparam("is_admin"))
)
SET_LOCKED = statement(
    update(users).where(_u.user_id == bindparam("the_user"), _ACTIVE).values(is_locked=bindparam("is_locked"))
)
SET_SUSPENDED = statement(
    update(users)
    .where(_u.user_id == bindparam("the_user"), _ACTIVE)
    .values(is_suspended=bindparam("is_suspended"))
)
DEACTIVATE = statement(
    update(users)
    .where(_u.user_id == bindparam("the_user"), _ACTIVE)
    .values(password_hash=None, is_admin=0, is_deactivated=1, is_departing=1)
)
ERASE = statement(update(users).where(_u.user_id == bindparam("the_user")).values(is_erased=1))
DEPARTING = statement(
    select(_u.user_id)
    .where(_u.is_departing == 1, _u.user_id > bindparam("after"))
    .order_by(_u.user_id)
    .limit(bindparam("limit"))
)
DEPARTED = statement(update(users).where(_u.user_id == bindparam("the_user")).values(is_departing=0))
DELETE_OWN_DATA = tuple(
    statement(delete(table).where(table.c.user_id == bindparam("user_id")))
    for table in (profiles, account_data, push_rules, filters)
)


def create(
    tx: WriteTransaction,
    user_id: UserID,
    *,
    password_hash: PasswordHash,
    display_name: str,
    now_ts: int,
    is_admin: bool = False,
    is_guest: bool = False,
    user_type: str | None = None,
    appservice_id: str | None = None,
) -> bool:
    """Add an account with its profile; False if the user ID is taken, be it by a deactivated account.

    `appservice_id` is the application service whose account it is, None for everybody else's.
    """
    added = tx.execute(
        INSERT,
        user_id=user_id,
        password_hash=password_hash,
        created_ts=now_ts,
        is_admin=int(is_admin),
        is_guest=int(is_guest),
        is_deactivated=0,
        is_erased=0,
        is_locked=0,
        is_suspended=0,
        is_departing=0,
        user_type=user_type,
        appservice_id=appservice_id,
    )
    if not added:
        return False
    tx.execute(INSERT_DISPLAY_NAME, user_id=user_id, field="displayname", value=encode(display_name))
    return True


def find(tx: ReadTransaction, user_id: UserID) -> User | None:
    """The account, None if there is none of that name."""
    row = tx.one(USER, user_id=user_id)
    return None if row is None else _user(row)


def exists(tx: ReadTransaction, user_id: UserID) -> bool:
    """Whether the user ID is taken; deactivated accounts keep theirs."""
    return tx.one(EXISTS, user_id=user_id) is not None


def active_among(tx: ReadTransaction, user_ids: Collection[UserID]) -> set[UserID]:
    """Those of the users who have an account here that is not closed."""
    return {UserID(row[0]) for row in tx.all(ACTIVE_AMONG, user_ids=list(user_ids))}


def page(tx: ReadTransaction, *, after: str, limit: int, deactivated: bool) -> list[User]:
    """Up to `limit` accounts beyond the user ID `after`, in order; deactivated ones only if asked for."""
    rows = tx.all(PAGE, after=after, limit=limit, most_deactivated=int(deactivated))
    return [_user(row) for row in rows]


def password_hash(tx: ReadTransaction, user_id: UserID, folded: UserID) -> tuple[UserID, PasswordHash] | None:
    """The account `user_id`, or else `folded`, with its password hash; None if neither is there or active.

    `folded` is `user_id` in lower case.
    """
    row = tx.one(PASSWORD_HASH, user_id=user_id, folded=folded)
    return None if row is None else (UserID(row[0]), row[1])


def set_password_hash(tx: WriteTransaction, user_id: UserID, new_hash: PasswordHash) -> bool:
    """Change the password of an active account; False if there is none."""
    return tx.execute(SET_PASSWORD_HASH, the_user=user_id, password_hash=new_hash) == 1


def replace_password_hash(tx: WriteTransaction, user_id: UserID, old_hash: str, new_hash: str) -> None:
    """Store a better hash of the same password, unless the password has been changed since."""
    tx.execute(REPLACE_PASSWORD_HASH, the_user=user_id, old_hash=old_hash, password_hash=new_hash)


def upgrade_guest(tx: WriteTransaction, user_id: UserID, new_hash: PasswordHash) -> bool:
    """Turn a guest into a full user; False if there is no such guest."""
    return tx.execute(UPGRADE_GUEST, the_user=user_id, password_hash=new_hash) == 1


def set_admin(tx: WriteTransaction, user_id: UserID, *, is_admin: bool) -> bool:
    """Give or take the rights of an administrator; False if there is no such active account."""
    return tx.execute(SET_ADMIN, the_user=user_id, is_admin=int(is_admin)) == 1


def set_locked(tx: WriteTransaction, user_id: UserID, *, is_locked: bool) -> None:
    """Lock an active account, or unlock it."""
    tx.execute(SET_LOCKED, the_user=user_id, is_locked=int(is_locked))
    tx.tell(session_topic(user_id))


def set_suspended(tx: WriteTransaction, user_id: UserID, *, is_suspended: bool) -> None:
    """Suspend an active account, or end that."""
    tx.execute(SET_SUSPENDED, the_user=user_id, is_suspended=int(is_suspended))


def deactivate(tx: WriteTransaction, user_id: UserID) -> bool:
    """Close the account for good; it has to leave its rooms. False if it is not there or closed already."""
    return tx.execute(DEACTIVATE, the_user=user_id) == 1


def erase(tx: WriteTransaction, user_id: UserID) -> None:
    """Have newcomers see the user's events redacted; delete profile, account data, filters, push rules."""
    tx.execute(ERASE, the_user=user_id)
    for query in DELETE_OWN_DATA:
        tx.execute(query, user_id=user_id)


def departing(tx: ReadTransaction, *, after: str, limit: int) -> list[UserID]:
    """Deactivated users beyond `after` who may still be in rooms, in order."""
    return [UserID(row[0]) for row in tx.all(DEPARTING, after=after, limit=limit)]


def departed(tx: WriteTransaction, user_id: UserID) -> None:
    """The deactivated user is out of all rooms."""
    tx.execute(DEPARTED, the_user=user_id)


def _user(row: tuple[object, ...]) -> User:
    values = dict(zip(_FIELDS, row, strict=True))
    return User(**{name: bool(value) if name in _FLAGS else value for name, value in values.items()})  # type: ignore[arg-type]  # as the columns are typed
