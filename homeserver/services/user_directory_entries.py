"""What the users of this server are found by in the user directory. Transaction functions."""

from collections.abc import Collection

from homeserver.core.identifiers import UserID
from homeserver.core.profiles import NameAndAvatar
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import profiles, user_directory, users
from homeserver.storage.user_directory import Entry


def refresh(tx: WriteTransaction, user_ids: Collection[UserID]) -> None:
    """Bring the entries of users of this server to what their profiles say; who is gone has none."""
    there = users.active_among(tx, user_ids)
    names = profiles.names_of(tx, there)
    before = user_directory.entries(tx, user_ids)
    for user_id in user_ids:
        if user_id not in there:
            if user_id in before:
                user_directory.remove(tx, user_id)
            continue
        name = names.get(user_id, NameAndAvatar()).display_name
        entry = Entry.of(user_id, [] if name is None else [name], is_local=True)
        if entry != before.get(user_id):
            user_directory.put(tx, entry)
