"""Making accounts, whoever asks for them."""

from homeserver.core.identifiers import UserID
from homeserver.database.transactions import WriteTransaction
from homeserver.services import user_directory_entries
from homeserver.storage import users
from homeserver.storage.users import PasswordHash


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
    """Make an account, which others can find; False if the user ID is taken. See `storage.users.create`."""
    is_new = users.create(
        tx,
        user_id,
        password_hash=password_hash,
        display_name=display_name,
        now_ts=now_ts,
        is_admin=is_admin,
        is_guest=is_guest,
        user_type=user_type,
        appservice_id=appservice_id,
    )
    if is_new:
        user_directory_entries.refresh(tx, [user_id])
    return is_new
