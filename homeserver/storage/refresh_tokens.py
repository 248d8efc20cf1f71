"""Refresh tokens, by their hash: each is good for one new pair of tokens."""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.accounts import refresh_tokens, users
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh token stands for; `replaces_hash` and `oauth_client_id` as in `access_tokens.Bearer`."""

    user_id: UserID
    device_id: DeviceID
    replaces_hash: bytes | None
    is_deactivated: bool
    is_locked: bool
    oauth_client_id: str | None = None


class Login(msgspec.Struct, frozen=True):
    """What all tokens of a family belong to."""

    user_id: UserID
    device_id: DeviceID
    oauth_client_id: str | None


_r = refresh_tokens.c
_OF_DEVICE = (_r.user_id == bindparam("the_user"), _r.device_id == bindparam("the_device"))

GRANT = statement(
    select(
        _r.user_id,
        _r.device_id,
        _r.replaces_hash,
        users.c.is_deactivated,
        users.c.is_locked,
        _r.oauth_client_id,
    )
    .join_from(refresh_tokens, users, users.c.user_id == _r.user_id)
    .where(_r.token_hash == bindparam("token_hash"))
    .with_for_update(of=refresh_tokens)
)
LOGIN = statement(
    select(_r.user_id, _r.device_id, _r.oauth_client_id)
    .where(_r.family_hash == bindparam("family_hash"))
    .limit(1)
)
INSERT = insert_into(refresh_tokens)
DELETE_OF_DEVICES = statement(
    delete(refresh_tokens).where(_r.user_id == bindparam("user_id"), in_list(_r.device_id, "device_ids"))
)
DELETE_REPLACED = statement(
    delete(refresh_tokens).where(*_OF_DEVICE, _r.token_hash == bindparam("replaced_hash"))
)
DELETE_RIVALS = statement(
    delete(refresh_tokens).where(
        *_OF_DEVICE, _r.replaces_hash == bindparam("replaced_hash"), _r.token_hash != bindparam("kept_hash")
    )
)
SETTLE = statement(
    update(refresh_tokens)
    .where(*_OF_DEVICE, _r.replaces_hash == bindparam("replaced_hash"))
    .values(replaces_hash=None)
)


def grant_of(tx: WriteTransaction, token_hash: bytes) -> Grant | None:
    """What the token is good for; None if it is not known, or no longer. Its row is locked."""
    row = tx.one(GRANT, token_hash=token_hash)
    if row is None:
        return None
    user_id, device_id, replaces_hash, is_deactivated, is_locked, oauth_client_id = row
    return Grant(
        user_id=user_id,
        device_id=device_id,
        replaces_hash=replaces_hash,
        is_deactivated=bool(is_deactivated),
        is_locked=bool(is_locked),
        oauth_client_id=oauth_client_id,
    )


def login_of(tx: ReadTransaction, family_hash: bytes) -> Login | None:
    """The login that these tokens belong to; None if it has ended."""
    row = tx.one(LOGIN, family_hash=family_hash)
    return None if row is None else Login(*row)


def add(
    tx: WriteTransaction,
    token_hash: bytes,
    *,
    family_hash: bytes,
    user_id: UserID,
    device_id: DeviceID,
    now_ts: int,
    replaces_hash: bytes | None,
    oauth_client_id: str | None = None,
) -> None:
    """Add a token; `replaces_hash` is the one that it was exchanged for."""
    tx.execute(
        INSERT,
        token_hash=token_hash,
        family_hash=family_hash,
        user_id=user_id,
        device_id=device_id,
        created_ts=now_ts,
        replaces_hash=replaces_hash,
        oauth_client_id=oauth_client_id,
    )


def remove_of_devices(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> None:
    """Delete the tokens of these devices."""
    tx.execute(DELETE_OF_DEVICES, user_id=user_id, device_ids=list(device_ids))


def settle(
    tx: WriteTransaction, user_id: UserID, device_id: DeviceID, *, replaced_hash: bytes, kept_hash: bytes
) -> None:
    """As `access_tokens.settle`, for refresh tokens: the replaced one goes, `kept_hash` alone follows it."""
    these = {"the_user": user_id, "the_device": device_id, "replaced_hash": replaced_hash}
    tx.execute(DELETE_REPLACED, **these)
    tx.execute(DELETE_RIVALS, **these, kept_hash=kept_hash)
    tx.execute(SETTLE, **these)
