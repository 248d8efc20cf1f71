"""Whose devices and keys a client has to look at again, and whose are of no interest any more.

Spec: client-server API, "Tracking the device list for a user" and "Extensions to /sync".
"""

from collections.abc import Collection
from typing import Final

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import encode
from homeserver.core.splice import array, object_of
from homeserver.database.kinds import Kind, StreamRow
from homeserver.database.transactions import ReadTransaction
from homeserver.services.spoilt_rooms import left_out
from homeserver.services.state_facts import StateFacts, state_facts
from homeserver.storage import cross_signing, device_lists, events, partial_joins, state
from homeserver.storage.memberships import RoomOfUser


class DeviceListChanges(msgspec.Struct, frozen=True):
    """Users whose devices or keys have changed, or who now share an encrypted room; and who shares none any more."""

    changed: frozenset[UserID] = frozenset()
    left: frozenset[UserID] = frozenset()

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.changed or self.left)

    def to_json(self) -> bytes:
        """As clients get it."""
        return object_of(
            {
                "changed": array(map(encode, sorted(self.changed))),
                "left": array(map(encode, sorted(self.left))),
            }
        )


def read_changes(
    tx: ReadTransaction, reader: UserID, rooms: Collection[RoomOfUser], stream: StreamRow, *, since: int
) -> DeviceListChanges:
    """What there is to tell `reader`, whose rooms these are, of what has changed after `since`.

    Who joins another encrypted room may be told, too, though they shared one before: "for the sake of simpler logic, a
    server may".
    """
    changed: set[UserID] = set()
    upto = stream.position
    if stream.changed_since(Kind.DEVICE_LISTS, since):
        changed |= device_lists.changed(tx, reader, after=since, upto=upto)
        changed |= cross_signing.signed_between(tx, reader, after=since, upto=upto)
    met, parted = _moved(tx, reader, rooms, since)
    return DeviceListChanges(frozenset((changed | met) - parted), frozenset(parted))


UNREADABLE: Final = StateFacts(is_encrypted=True)
"""Of a room whose state cannot be read: who is asked for the keys of too many loses nothing."""


def _moved(
    tx: ReadTransaction, reader: UserID, rooms: Collection[RoomOfUser], since: int
) -> tuple[set[UserID], set[UserID]]:
    """Who now shares an encrypted room with the reader, and who shares none any more."""
    touched = [room for room in rooms if _is_touched(room, since)]
    if not touched:
        return set(), set()
    facts = state_facts(tx, reader, touched)
    touched = [room for room in touched if facts.get(room.room_nid, UNREADABLE).is_encrypted]
    if not touched:
        return set(), set()
    new = {room.room_nid for room in touched if _is_new(room, facts.get(room.room_nid, UNREADABLE), since)}
    left = {room.room_nid for room in touched if room.membership != "join"}
    # One that the reader has come back to is new, and those have left it who went meanwhile.
    again = {
        room.room_nid for room in touched if room.room_nid in new and _was_shared(tx, reader, room, since)
    }
    stayed = {room.room_nid for room in touched} - (new - again) - left
    met = device_lists.joined(tx, new) if new else set()
    parted = device_lists.joined(tx, left) if left else set()
    moved = device_lists.moved(tx, stayed | left, after=since)
    if stayed and (filled := partial_joins.completed_after(tx, stayed, since)):
        # Who is there has been for longer than the client has known: all of them are news to it.
        moved += device_lists.moved(tx, filled, after=0)
    for room_nid, user_id, membership, was_joined in moved:
        if membership == "join" and room_nid in stayed:
            met.add(user_id)
        elif membership != "join" and was_joined:
            parted.add(user_id)
    parted -= {reader, *met}
    if parted:
        joined = [room for room in rooms if room.membership == "join"]
        facts = state_facts(tx, reader, joined)
        encrypted = [room.room_nid for room in joined if facts.get(room.room_nid, UNREADABLE).is_encrypted]
        parted -= device_lists.among_joined(tx, encrypted, parted)
    return met - {reader}, parted


def _is_touched(room: RoomOfUser, since: int) -> bool:
    """Whether anybody may have come or gone after `since`, as far as the reader is concerned."""
    if room.membership == "join":
        return room.state_position > since or room.since_position > since
    return bool(room.was_joined) and room.since_position > since


def _is_new(room: RoomOfUser, facts: StateFacts, since: int) -> bool:
    """Whether the reader has come into an encrypted room after `since`, or a room has become one."""
    return room.membership == "join" and (room.since_position > since or facts.encrypted_at > since)


def _was_shared(tx: ReadTransaction, reader: UserID, room: RoomOfUser, since: int) -> bool:
    """Whether the reader was in the room at `since`, and it was encrypted even then."""
    with left_out(room.room_id, reader):
        root = state.root_at(tx, room.room_nid, since)
        nids = state.get_many(tx, root, (("m.room.encryption", ""), ("m.room.member", reader)))
        if len(nids) == 2:
            return any(each.membership == "join" for each in events.memberships_set(tx, nids.values()))
    return False
