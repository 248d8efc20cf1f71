"""Access tokens, by their hash: whose they are, and until when."""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.topics import session_topic
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.accounts import access_tokens, users
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Bearer(msgspec.Struct, frozen=True):
    """What an access token stands for.

    `expires_ts` is None if it does not expire. `refresh_hash` is the refresh token that came with it,
    `replaces_hash` the one that was exchanged for it, until the access token has been used once. `oauth_client_id` is
    the client of the OAuth 2.0 API that it was given to, None if it comes from elsewhere.
    """

    user_id: UserID
    device_id: DeviceID
    expires_ts: int | None
    refresh_hash: bytes | None
    replaces_hash: bytes | None
    is_admin: bool
    is_guest: bool
    is_deactivated: bool
    is_locked: bool
    is_suspended: bool
    oauth_client_id: str | None = None


_a = access_tokens.c
_OF_DEVICE = (_a.user_id == bindparam("the_user"), _a.device_id == bindparam("the_device"))

BEARER = statement(
    select(
        # In the order of Bearer's fields.
        _a.user_id,
        _a.device_id,
        _a.expires_ts,
        _a.refresh_hash,
        _a.replaces_hash,
        users.c.is_admin,
        users.c.is_guest,
        users.c.is_deactivated,
        users.c.is_locked,
        users.c.is_suspended,
        _a.oauth_client_id,
    )
    .join_from(access_tokens, users, users.c.user_id == _a.user_id)
    .where(_a.token_hash == bindparam("token_hash"))
)
INSERT = insert_into(access_tokens)
DELETE_OF_DEVICES = statement(
    delete(access_tokens).where(_a.user_id == bindparam("user_id"), in_list(_a.device_id, "device_ids"))
)
DELETE_REPLACED = statement(
    delete(access_tokens).where(*_OF_DEVICE, _a.refresh_hash == bindparam("replaced_hash"))
)
DELETE_RIVALS = statement(
    delete(access_tokens).where(
        *_OF_DEVICE, _a.replaces_hash == bindparam("replaced_hash"), _a.refresh_hash != bindparam("kept_hash")
    )
)
SETTLE = statement(
    update(access_tokens)
    .where(*_OF_DEVICE, _a.replaces_hash == bindparam("replaced_hash"))
    .values(replaces_hash=None)
)


def bearer_of(tx: ReadTransaction, token_hash: bytes) -> Bearer | None:
    """Whose token it is, expired or not; None if it is not known."""
    row = tx.one(BEARER, token_hash=token_hash)
    if row is None:
        return None
    is_admin, is_guest, is_deactivated, is_locked, is_suspended = map(bool, row[5:10])
    user_id, device_id, expires_ts, refresh_hash, replaces_hash = row[:5]
    return Bearer(
        user_id,
        device_id,
        expires_ts,
        refresh_hash,
        replaces_hash,
        is_admin,
        is_guest,
        is_deactivated,
        is_locked,
        is_suspended,
        row[10],
    )


def add(
    tx: WriteTransaction,
    token_hash: bytes,
    *,
    user_id: UserID,
    device_id: DeviceID,
    now_ts: int,
    expires_ts: int | None,
    refresh_hash: bytes | None,
    replaces_hash: bytes | None,
    oauth_client_id: str | None = None,
) -> None:
    """Add a token. `refresh_hash` is given out with it, `replaces_hash` was exchanged for it."""
    tx.execute(
        INSERT,
        token_hash=token_hash,
        user_id=user_id,
        device_id=device_id,
        created_ts=now_ts,
        expires_ts=expires_ts,
        refresh_hash=refresh_hash,
        replaces_hash=replaces_hash,
        oauth_client_id=oauth_client_id,
    )


def remove_of_devices(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> None:
    """Delete the tokens of these devices."""
    tx.execute(DELETE_OF_DEVICES, user_id=user_id, device_ids=list(device_ids))
    tx.tell(session_topic(user_id))


def settle(
    tx: WriteTransaction, user_id: UserID, device_id: DeviceID, *, replaced_hash: bytes, kept_hash: bytes
) -> None:
    """Of what the refresh token `replaced_hash` was exchanged for, the pair of `kept_hash` has been used.

    The other tokens that it was exchanged for go, and so does the access token that came with it.
    """
    these = {"the_user": user_id, "the_device": device_id, "replaced_hash": replaced_hash}
    tx.execute(DELETE_REPLACED, **these)
    tx.execute(DELETE_RIVALS, **these, kept_hash=kept_hash)
    tx.execute(SETTLE, **these)
    tx.tell(session_topic(user_id))
