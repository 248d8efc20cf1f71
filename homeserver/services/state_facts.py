"""What the states of rooms say of them at a glance: of which type they are, and whether they are encrypted."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, decode
from homeserver.core.room_versions import get_room_version
from homeserver.database.transactions import ReadTransaction
from homeserver.services.spoilt_rooms import left_out, read_together
from homeserver.storage import events, state, stripped_states
from homeserver.storage.memberships import RoomOfUser

_CREATE: StateKey = ("m.room.create", "")
_ENCRYPTION: StateKey = ("m.room.encryption", "")


class StateFacts(msgspec.Struct, frozen=True):
    """What a room's state says; `encrypted_at` is where in the stream it was last said how to encrypt, if it was."""

    is_encrypted: bool = False
    room_type: str | None = None
    encrypted_at: int = 0


class Stated(Protocol):
    """A room with its state."""

    @property
    def room_nid(self) -> int:
        """The room's number."""
        ...

    @property
    def version(self) -> str:
        """The room's version."""
        ...

    @property
    def state_root(self) -> int:
        """Its current state."""
        ...


def state_facts(
    tx: ReadTransaction, user_id: UserID, listed: Collection[RoomOfUser]
) -> dict[int, StateFacts]:
    """What the rooms' states say, by the rooms' numbers; or what came with an invitation from elsewhere.

    A room whose state cannot be read is missing.
    """
    found: dict[int, StateFacts] = {}
    stated: list[RoomOfUser] = []
    for room in listed:
        if room.state_root == 0:
            with left_out(room.room_id, user_id):
                found[room.room_nid] = _stripped_facts(stripped_states.of(tx, room.room_nid, user_id))
        else:
            stated.append(room)
    with read_together(user_id):
        return found | facts_of(tx, stated)
    for room in stated:
        with left_out(room.room_id, user_id):
            found |= facts_of(tx, [room])
    return found


def facts_of(tx: ReadTransaction, stated: Iterable[Stated]) -> dict[int, StateFacts]:
    """What the states say of rooms that have one, by the rooms' numbers."""
    found: dict[int, StateFacts] = {}
    unknown: list[Stated] = []
    for room in stated:
        known = tx.caches.room_facts.get(room.state_root)
        if known is None:
            unknown.append(room)
        else:
            found[room.room_nid] = known
    return found | _read(tx, unknown) if unknown else found


def _read(tx: ReadTransaction, unknown: Collection[Stated]) -> dict[int, StateFacts]:
    read: dict[int, StateFacts] = {}
    nids = state.get_across(tx, {room.state_root for room in unknown}, (_CREATE, _ENCRYPTION))
    types = _room_types(tx, unknown, nids)
    encryptions = events.of_nids(tx, {found[_ENCRYPTION] for found in nids.values() if _ENCRYPTION in found})
    for room in unknown:
        encryption = encryptions.get(nids[room.state_root].get(_ENCRYPTION, 0))
        position = 0 if encryption is None else encryption.position or 0
        facts = StateFacts(encryption is not None, types.get(room.room_nid), position)
        tx.remember(tx.caches.room_facts, room.state_root, facts)
        read[room.room_nid] = facts
    return read


def _room_types(
    tx: ReadTransaction, found: Iterable[Stated], nids: Mapping[int, Mapping[StateKey, int]]
) -> dict[int, str | None]:
    creates: dict[str, dict[int, int]] = {}
    for room in found:
        nid = nids[room.state_root].get(_CREATE)
        if nid is not None:
            creates.setdefault(room.version, {})[room.room_nid] = nid
    types: dict[int, str | None] = {}
    for version, by_room in creates.items():
        parsed = events.parsed(tx, list(by_room.values()), get_room_version(version))
        types |= {room_nid: _type(parsed[nid].content) for room_nid, nid in by_room.items()}
    return types


def _stripped_facts(told: bytes | None) -> StateFacts:
    listed = [] if told is None else decode(told)
    by_type: dict[object, JsonObject] = {
        event.get("type"): event
        for event in (listed if isinstance(listed, list) else [])
        if isinstance(event, dict) and event.get("state_key") == ""
    }
    content = by_type.get(_CREATE[0], {}).get("content")
    return StateFacts(_ENCRYPTION[0] in by_type, _type(content) if isinstance(content, dict) else None)


def _type(content: JsonObject) -> str | None:
    kind = content.get("type")
    return kind if isinstance(kind, str) else None
