"""States that other servers have told: made of stored events, and stored where they are like the room's own."""

from collections.abc import Sequence
from typing import Final

from homeserver.core.auth_events import CREATE, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.event import Event, StateKey
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import events, rooms, state

MOST_LACKING: Final = 0.1
"""The part of a state that may be missing: events whose servers' keys are gone, for the most part."""


def put(tx: WriteTransaction, room_id: RoomID, event_id: EventID, state_ids: Sequence[EventID]) -> int | None:
    """The root of the state after an event, given the events of the state before it, as far as they are stored.

    Rejected events are left out, and so is the event itself where the state does not allow it. None if the room is
    gone, or its create event or too much else is lacking. The stored trie shares what it can with the current state.
    """
    room = rooms.lock(tx, room_id)
    if room is None:
        return None
    version = get_room_version(room.version)
    placed = {
        each.event_id: each.event_nid
        for each in events.placed(tx, {event_id, *state_ids}).values()
        if each.room_nid == room.room_nid and each.status != events.REJECTED
    }
    own_nid = placed.get(event_id)
    listed = {placed[each]: None for each in state_ids if each in placed}
    if len(listed) < (1 - MOST_LACKING) * len(set(state_ids)):
        return None
    keys = events.keys_of(tx, {*listed, *([] if own_nid is None else [own_nid])})
    found: dict[StateKey, int] = {}
    for nid in listed:
        if (key := keys.get(nid)) is not None:
            found.setdefault(key, nid)
    current = state.get(tx, room.state_root, CREATE)
    if CREATE not in found or found[CREATE] != current:
        return None
    if own_nid is not None and own_nid in keys:
        event = events.parsed(tx, [own_nid], version)[own_nid]
        needed = {
            CREATE,
            *select_auth_event_keys(event.type, event.sender, event.state_key, event.content, version),
        }
        nids = [found[key] for key in needed if key in found]
        by_nid = events.parsed(tx, nids, version)
        if _is_allowed(event, {key: by_nid[found[key]] for key in needed if key in found}):
            found[event.key] = own_nid
    whole = state.whole(tx, room.state_root)
    changes: dict[StateKey, int | None] = {key: None for key in whole if key not in found}
    changes |= {key: nid for key, nid in found.items() if whole.get(key) != nid}
    return state.put(tx, room.room_nid, room.state_root, changes)


def _is_allowed(event: Event, found: dict[StateKey, Event]) -> bool:
    try:
        check_state(event, found)
    except NotAllowed:
        return False
    return True
