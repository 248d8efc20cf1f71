"""Rooms that the user is invited to, or has knocked on: stripped state. Spec: client-server API, "Stripped state"."""

import msgspec

from homeserver.core.client_event import stripped_state
from homeserver.core.identifiers import UserID
from homeserver.core.splice import array, object_of
from homeserver.database.transactions import ReadTransaction
from homeserver.rooms.state_answers import SHOWN_TO_OUTSIDERS
from homeserver.storage import events, state, stripped_states
from homeserver.storage.memberships import RoomOfUser

_listed = msgspec.json.Decoder(list[msgspec.Raw])


def stripped_room(tx: ReadTransaction, room: RoomOfUser, user_id: UserID) -> bytes:
    """The room in the `invite` or `knock` section of a sync."""
    section = "invite_state" if room.membership == "invite" else "knock_state"
    return object_of({section: object_of({"events": stripped_events(tx, room, user_id)})})


def stripped_events(tx: ReadTransaction, room: RoomOfUser, user_id: UserID) -> bytes:
    """What an outsider may see of the room, as a JSON array.

    Once the invitation or the knock is a thing of the past, that is what has become of it.
    """
    if room.membership in ("invite", "knock"):
        told = stripped_states.of(tx, room.room_nid, user_id)
        if told is None:
            return array(_from_state(tx, room))
    else:
        told = b"[]"
    own = events.of_nids(tx, [room.event_nid]).values()
    # Decoded, if not looked at: a row that is spoilt must not become a part of an answer.
    return array([*map(bytes, _listed.decode(told)), *(stripped_state(event.pdu) for event in own)])


def _from_state(tx: ReadTransaction, room: RoomOfUser) -> list[bytes]:
    """As the state of a room has it that this server is in."""
    members = (("m.room.member", room.sender), ("m.room.member", None))
    keys = [*SHOWN_TO_OUTSIDERS, *((kind, key) for kind, key in members if key is not None)]
    nids = list(state.get_many(tx, room.state_root, keys).values())
    # The user's own membership comes last: clients read the rest of the state before it.
    nids = [nid for nid in nids if nid != room.event_nid] + [room.event_nid]
    found = events.of_nids(tx, nids)
    return [stripped_state(found[nid].pdu) for nid in nids if nid in found]
