"""Whom a user ignores. Spec: client-server API, "Ignoring users"."""

from collections.abc import Collection, Sequence
from typing import Final

from homeserver.core.errors import BadJson, NotJson, TooLarge
from homeserver.core.identifiers import UserID
from homeserver.core.json import decode_object
from homeserver.core.push_rules import Customisation
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.storage import account_data, push_rules
from homeserver.storage.events import StoredEvent

IGNORED_USER_LIST = "m.ignored_user_list"

MOST_IGNORED: Final = 5_000
"""The list is looked through whenever there is something to tell the user."""


def ignored_by(tx: ReadTransaction, user_id: UserID) -> frozenset[str]:
    """The users whose events the user is not to be shown; nobody, if the list is malformed. Never the user itself."""
    content = account_data.of(tx, user_id, account_data.GLOBAL, IGNORED_USER_LIST)
    return frozenset() if content is None else ignored_by_content(content, user_id)


def ignored_by_content(content: bytes, user_id: UserID) -> frozenset[str]:
    """Whom a list with this content has the user ignore."""
    try:
        ignored = decode_object(content).get("ignored_users")
    except (BadJson, NotJson):
        return frozenset()
    return frozenset(ignored) - {user_id} if isinstance(ignored, dict) else frozenset()


def heard(stored: Sequence[StoredEvent], ignored: Collection[str]) -> Sequence[StoredEvent]:
    """Those of the events that the ignored users have not sent; "state events will still be sent"."""
    return [event for event in stored if event.state_key is not None or event.sender not in ignored]


def put_ignored(tx: WriteTransaction, user_id: UserID, content: bytes) -> None:
    """Replace the list, and have the user's push rules say of whose events there is nothing to tell.

    Errors: TooLarge for more users than anybody needs to ignore.
    """
    account_data.put(tx, user_id, account_data.GLOBAL, IGNORED_USER_LIST, content)
    ignored = tuple(sorted(ignored_by_content(content, user_id)))
    if len(ignored) > MOST_IGNORED:
        raise TooLarge(f"at most {MOST_IGNORED} users can be ignored")
    stored = push_rules.of(tx, user_id)
    before = Customisation() if stored is None else Customisation.from_bytes(stored)
    if before.ignored != ignored:
        locked = Customisation.from_bytes(push_rules.lock(tx, user_id, empty=Customisation().to_bytes()))
        push_rules.put(tx, user_id, locked.without_notice_of(ignored).to_bytes())
