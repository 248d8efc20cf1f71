"""Users of other servers who may have left a room and come back without this server's having seen it.

In between their servers were free to tell nothing of their devices. Spec: server-server API, "Device Management".
"""

from collections.abc import Iterable

from homeserver.core.event import Event
from homeserver.core.identifiers import UserID
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import device_lists, remote_device_lists


def may_have_left(before: Event, after: Event) -> bool:
    """Whether a user who was in the room, and is, may have been out of it: the new join does not follow the old one.

    A join cites the membership that it replaces. After a gap that may as well be a third one, of another name.
    """
    are_joins = all(each.content.get("membership") == "join" for each in (before, after))
    return are_joins and before.event_id not in after.auth_events


def doubt_devices(tx: WriteTransaction, user_ids: Iterable[UserID]) -> None:
    """Have the devices of these users asked for again, by this server and by the clients that share rooms with them."""
    # In one order in all transactions, since each waits for the others' rows.
    for user_id in sorted(user_ids):
        known = remote_device_lists.lock(tx, user_id)
        if known is not None:
            remote_device_lists.doubt(tx, known, now_ts=0)
        device_lists.tell(tx, user_id)
