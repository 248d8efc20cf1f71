"""Whom the users of this server can invite."""

from typing import Final

from homeserver.core.endpoint_errors import InviteBlocked
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserID
from homeserver.core.json import decode_object
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import account_data, users

PERMISSION: Final = "m.invite_permission_config"


def check_accepts(tx: ReadTransaction, user_id: UserID) -> None:
    """Whether this user of this server wants invitations.

    To be asked only once it is sure that the inviter may invite: the answer is about the user.
    Errors: InviteBlocked; Forbidden for a closed account. Spec: client-server API, "Invite permission".
    """
    user = users.find(tx, user_id)
    if user is not None and user.is_deactivated:
        raise Forbidden("The account of the invited user has been closed")
    if are_blocked(tx, user_id):
        raise InviteBlocked(f"{user_id} does not accept invitations")


def are_blocked(tx: ReadTransaction, user_id: UserID) -> bool:
    """Whether this user of this server wants no invitations at all."""
    stored = account_data.of(tx, user_id, account_data.GLOBAL, PERMISSION)
    return stored is not None and decode_object(stored).get("default_action") == "block"
