"""Events that stick: how many of a room are shown at a time, and when those are shown that are not at first.

Not shown at first are events that are soft-failed, until the room's state allows them; those from before this server
came into the room, until it has been seen whether it does; and those that are too many.

Spec: MSC4354.
"""

from collections import Counter
from typing import Final

from homeserver.core.auth_events import CREATE, POWER_LEVELS, select_auth_event_keys
from homeserver.core.auth_rules import NotAllowed, check_state
from homeserver.core.event import Event
from homeserver.core.identifiers import RoomID, ServerName, UserID, server_of
from homeserver.core.room_versions import get_room_version
from homeserver.core.sticky_events import expiry_of
from homeserver.database.statements import Statement
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.new_events import NewEvent
from homeserver.storage import events, rooms, state, sticky_events
from homeserver.storage.events import StoredEvent

MOST_OF_SENDER: Final = 100
"""Events of one user that are shown in a room: who refreshes one for each device has enough of that."""

MOST_IN_ROOM: Final = 1_000
"""Events that are shown in a room: who comes into it is sent all of them at once."""

RETRY_MS: Final = 10_000
"""How long it takes until it is looked whether there is place for one more."""

MOST_AT_ONCE: Final = 50
"""Events that one write looks at."""


class Sticking:
    """What sticks of the events that one transaction stores in one locked room."""

    def __init__(self, tx: WriteTransaction, room_nid: int, server_name: ServerName) -> None:
        self._tx = tx
        self._room_nid = room_nid
        self._server_name = server_name
        self._places = _Places(tx, room_nid)

    def stick(self, new: NewEvent, status: int, root: int) -> tuple[Statement, dict[str, object]] | None:
        """What is to be written when the event is published, so that it sticks; `None` for nothing.

        `status` is that with which it is stored, `root` that of the room's current state. It must not be redacted.
        """
        received_ts = new.received_ts
        expires_ts = None if received_ts is None else expiry_of(new.event.pdu, received_ts=received_ts)
        if received_ts is None or expires_ts is None:
            return None
        sender = new.event.sender
        is_own = server_of(sender) == self._server_name
        row = sticky_events.row(new.event_nid, self._room_nid, sender, is_own=is_own, expires_ts=expires_ts)
        if status == events.SOFT_FAILED:
            sticky_events.add_waiting(self._tx, row | {"refused_in_root": root})
        elif status == events.ACCEPTED:
            if self._places.take(sender, now_ts=received_ts):
                return sticky_events.INSERT, row
            sticky_events.add_waiting(self._tx, row | {"due_ts": received_ts + RETRY_MS})
        return None


def await_release(
    tx: WriteTransaction, event: Event, event_nid: int, room_nid: int, *, received_ts: int
) -> None:
    """Have an event of another server, which is stored, stick as soon as the room's state is found to allow it."""
    expires_ts = expiry_of(event.pdu, received_ts=received_ts)
    if expires_ts is not None:
        sticky_events.add_waiting(
            tx, sticky_events.row(event_nid, room_nid, event.sender, is_own=False, expires_ts=expires_ts)
        )


def release(tx: WriteTransaction, room_id: RoomID, *, now_ts: int, most: int = MOST_AT_ONCE) -> None:
    """Show those of a room's events, up to `most`, that are not shown yet and can be now."""
    room = rooms.lock(tx, room_id)
    if room is None or not room.is_held:
        return
    waiting = sticky_events.waiting(tx, room.room_nid, now_ts=now_ts, most=most)
    stored = events.of_nids(tx, [each.event_nid for each in waiting])
    places = _Places(tx, room.room_nid)
    for each in waiting:
        event = stored.get(each.event_nid)
        if event is None or event.redacted_by is not None or event.status == events.REJECTED:
            sticky_events.remove(tx, [each.event_nid])
        elif not _is_allowed(tx, room, event):
            sticky_events.refuse(tx, each.event_nid, state_root=room.state_root)
        elif places.take(each.sender, now_ts=now_ts):
            sticky_events.show(tx, each.event_nid, room_id)
        else:
            sticky_events.put_off(tx, each.event_nid, until_ts=now_ts + RETRY_MS)


class _Places:
    """How many more events of a room can be shown; what a transaction has taken cannot be read back in it."""

    def __init__(self, tx: ReadTransaction, room_nid: int) -> None:
        self._tx = tx
        self._room_nid = room_nid
        self._taken: Counter[UserID] = Counter()

    def take(self, sender: UserID, *, now_ts: int) -> bool:
        """Whether there is place for one more of this sender, which is taken then."""
        shown = sticky_events.count(self._tx, self._room_nid, sender, now_ts=now_ts)
        if (
            shown.of_sender + self._taken[sender] >= MOST_OF_SENDER
            or shown.in_room + self._taken.total() >= MOST_IN_ROOM
        ):
            return False
        self._taken[sender] += 1
        return True


def _is_allowed(tx: ReadTransaction, room: rooms.Room, stored: StoredEvent) -> bool:
    """Whether the room's state allows the event, or has done so when it came."""
    if stored.status == events.ACCEPTED and stored.position is not None and stored.position > 0:
        return True
    version = get_room_version(room.version)
    event = events.parsed(tx, [stored.event_nid], version)[stored.event_nid]
    keys = select_auth_event_keys(event.type, event.sender, event.state_key, event.content, version)
    nids = state.get_many(tx, room.state_root, {CREATE, POWER_LEVELS, *keys})
    found = events.parsed(tx, list(nids.values()), version)
    try:
        check_state(event, {key: found[nid] for key, nid in nids.items()})
    except NotAllowed:
        return False
    return True
