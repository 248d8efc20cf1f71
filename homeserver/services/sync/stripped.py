"""Rooms that the user is invited to, or has knocked on: stripped state. Spec: client-server API, "Stripped state"."""

from homeserver.core.client_event import stripped_state
from homeserver.core.event import StateKey
from homeserver.core.splice import array, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, state
from homeserver.storage.memberships import RoomOfUser

SHOWN: tuple[StateKey, ...] = (
    ("m.room.create", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)
"""What an outsider needs to recognise the room; the specification's list."""


def stripped_room(tx: ReadTransaction, room: RoomOfUser) -> bytes:
    """The room in the `invite` or `knock` section of a sync."""
    members = (("m.room.member", room.sender), ("m.room.member", None))
    keys = [*SHOWN, *((kind, key) for kind, key in members if key is not None)]
    nids = list(state.get_many(tx, room.state_root, keys).values())
    # The user's own membership comes last: clients read the rest of the state before it.
    nids = [nid for nid in nids if nid != room.event_nid] + [room.event_nid]
    found = events.of_nids(tx, nids)
    stripped = array(stripped_state(found[nid].pdu) for nid in nids if nid in found)
    section = "invite_state" if room.membership == "invite" else "knock_state"
    return object_of({section: object_of({"events": stripped})})
