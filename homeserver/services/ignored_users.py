"""Whom a user ignores. Spec: client-server API, "Ignoring users"."""

from homeserver.core.errors import BadJson, NotJson
from homeserver.core.identifiers import UserID
from homeserver.core.json import decode_object
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import account_data

IGNORED_USER_LIST = "m.ignored_user_list"


def ignored_by(tx: ReadTransaction, user_id: UserID) -> frozenset[str]:
    """The users whose events the user is not to be shown; nobody, if the list is malformed. Never the user itself."""
    content = account_data.of(tx, user_id, account_data.GLOBAL, IGNORED_USER_LIST)
    if content is None:
        return frozenset()
    try:
        ignored = decode_object(content).get("ignored_users")
    except (BadJson, NotJson):
        return frozenset()
    return frozenset(ignored) - {user_id} if isinstance(ignored, dict) else frozenset()
