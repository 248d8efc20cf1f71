"""Server access control lists of rooms. Spec: server-server API, "Server Access Control Lists (ACLs)"."""

from typing import Final

from homeserver.core.event import StateKey
from homeserver.core.identifiers import ServerName
from homeserver.core.json import decode_object
from homeserver.core.server_acl import ServerAcl
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, redactions, rooms, state

SERVER_ACL: Final[StateKey] = ("m.room.server_acl", "")


def is_allowed(tx: ReadTransaction, room: rooms.Room, server_name: ServerName) -> bool:
    """Whether a server may take part in the room by the `m.room.server_acl` of its current state.

    The list is compiled once for each event. A room without one, or whose state is not held, allows everybody.
    """
    nid = state.get(tx, room.state_root, SERVER_ACL)
    return nid is None or _acl_of(tx, nid).allows(server_name)


def _acl_of(tx: ReadTransaction, event_nid: int) -> ServerAcl:
    # A redaction, perhaps by another process, takes the lists away: then nobody is allowed.
    key = event_nid, redactions.is_redacted(tx, event_nid)
    cache = tx.caches.server_acls
    acl: ServerAcl | None = cache.get(key)
    if acl is None:
        content = decode_object(events.of_nids(tx, [event_nid])[event_nid].pdu)["content"]
        acl = ServerAcl.of(content if isinstance(content, dict) else {})
        tx.remember(cache, key, acl)
    return acl
