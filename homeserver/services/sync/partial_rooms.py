"""Rooms that were entered without most of their members, for clients that load members lazily."""

from collections.abc import Collection, Iterable

from homeserver.core.event import StateKey
from homeserver.core.references import auth_events_of
from homeserver.database.transactions import ReadTransaction
from homeserver.services.sync.room_state import MEMBER, Roots
from homeserver.storage import events, partial_joins, rooms, state
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import RoomOfUser

MANY = 50
"""Fewer members than that are shown in any case: to look why there are so many costs more."""


def without_filled_in(
    tx: ReadTransaction,
    room: RoomOfUser,
    section: dict[StateKey, int],
    roots: Roots,
    *,
    since: int | None,
    needed: Collection[str],
) -> dict[StateKey, int]:
    """The section without those members who only were not known before, and whom nobody needs.

    They have been there for long; whoever wants all members asks for them, and is given these, too.
    """
    if roots.since == 0 or since is None or sum(key[0] == MEMBER for key in section) < MANY:
        return section
    completed = partial_joins.completed_at(tx, room.room_nid)
    if completed is None or completed <= since:
        return section
    before = state.root_at(tx, room.room_nid, completed - 1)
    filled = state.difference(tx, before, state.root_at(tx, room.room_nid, completed))
    return {
        key: nid
        for key, nid in section.items()
        if key[0] != MEMBER or key[1] in needed or filled.get(key) != (None, nid)
    }


def cited_members(
    tx: ReadTransaction, room: RoomOfUser, shown: Iterable[StoredEvent], absent: Collection[str]
) -> dict[StateKey, int]:
    """The membership events of senders whom the room's state does not name yet, as far as their events cite them."""
    citing = [event for event in shown if event.sender in absent]
    if not citing or not rooms.of_nids(tx, [room.room_nid])[room.room_nid].is_partial:
        return {}
    senders = {event.sender for event in citing}
    cited = {event_id for event in citing for event_id in auth_events_of(event.pdu)}
    found: dict[StateKey, int] = {}
    for event in events.of_ids(tx, cited).values():
        if event.type == MEMBER and event.state_key in senders and event.room_nid == room.room_nid:
            found[MEMBER, event.state_key] = event.event_nid
    return found
