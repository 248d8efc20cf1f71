"""What the filters of lists ask of rooms: found for many rooms at once, and only if it is asked for."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject, decode, decode_object
from homeserver.core.room_versions import get_room_version
from homeserver.core.sliding_sync.room_filters import RoomFacts, RoomFilter
from homeserver.database.transactions import ReadTransaction
from homeserver.services.room_summaries import children_of, summarise_all
from homeserver.storage import account_data, events, memberships, rooms, state, stripped_states
from homeserver.storage.memberships import RoomOfUser

_CREATE: StateKey = ("m.room.create", "")
_ENCRYPTION: StateKey = ("m.room.encryption", "")


class StateFacts(msgspec.Struct, frozen=True):
    """What a room's state says."""

    is_encrypted: bool = False
    room_type: str | None = None


class RoomFactFinder:
    """Finds the facts of a user's rooms, as far as any of the filters asks for them."""

    def __init__(
        self,
        tx: ReadTransaction,
        user_id: UserID,
        listed: Collection[RoomOfUser],
        filters: Collection[RoomFilter],
    ) -> None:
        self.direct = direct_rooms(tx, user_id)
        self._state: Mapping[int, StateFacts] = {}
        if any(each.asks_for_state for each in filters):
            self._state = _state_facts(tx, user_id, listed)
        self._tags: Mapping[RoomID, Collection[str]] = {}
        if any(each.asks_for_tags for each in filters):
            self._tags = _tags(tx, user_id)
        spaces = {each.spaces for each in filters if each.spaces is not None}
        self._children = {wanted: _children(tx, user_id, wanted) for wanted in spaces}

    def of(self, room: RoomOfUser, spaces: frozenset[str] | None) -> RoomFacts:
        """The facts of a room for a filter with these spaces."""
        found = self._state.get(room.room_nid, _UNKNOWN)
        return RoomFacts(
            is_dm=room.room_id in self.direct,
            is_invited=room.membership == "invite",
            is_encrypted=found.is_encrypted,
            room_type=found.room_type,
            tags=self._tags.get(room.room_id, ()),
            is_in_space=spaces is not None and room.room_id in self._children[spaces],
        )


_UNKNOWN = StateFacts()


def direct_rooms(tx: ReadTransaction, user_id: UserID) -> frozenset[str]:
    """The rooms that the user's account data has for direct chats. Spec: client-server API, "Direct Messaging"."""
    content = account_data.of(tx, user_id, account_data.GLOBAL, "m.direct")
    lists = () if content is None else decode_object(content).values()
    return frozenset(
        room_id for each in lists if isinstance(each, list) for room_id in each if isinstance(room_id, str)
    )


def _state_facts(
    tx: ReadTransaction, user_id: UserID, listed: Collection[RoomOfUser]
) -> dict[int, StateFacts]:
    """What the rooms' states say, by the rooms' numbers; or what came with an invitation from elsewhere."""
    found: dict[int, StateFacts] = {}
    unknown: list[RoomOfUser] = []
    for room in listed:
        if room.state_root == 0:
            found[room.room_nid] = _stripped_facts(stripped_states.of(tx, room.room_nid, user_id))
        elif (known := tx.caches.room_facts.get(room.state_root)) is not None:
            found[room.room_nid] = known
        else:
            unknown.append(room)
    if unknown:
        nids = state.get_across(tx, {room.state_root for room in unknown}, (_CREATE, _ENCRYPTION))
        types = _room_types(tx, unknown, nids)
        for room in unknown:
            facts = StateFacts(_ENCRYPTION in nids[room.state_root], types.get(room.room_nid))
            tx.remember(tx.caches.room_facts, room.state_root, facts)
            found[room.room_nid] = facts
    return found


def _room_types(
    tx: ReadTransaction, found: Iterable[RoomOfUser], nids: Mapping[int, Mapping[StateKey, int]]
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


def _tags(tx: ReadTransaction, user_id: UserID) -> dict[RoomID, Collection[str]]:
    found: dict[RoomID, Collection[str]] = {}
    for room_id, content in account_data.of_all_rooms(tx, user_id, "m.tag").items():
        tags = decode_object(content).get("tags")
        if isinstance(tags, dict):
            found[room_id] = tags.keys()
    return found


def _children(tx: ReadTransaction, user_id: UserID, spaces: Collection[str]) -> frozenset[str]:
    """The rooms that those of the spaces name which the user is joined to."""
    joined = [
        room_id
        for room_id, membership in memberships.of_user_in(tx, user_id, spaces).items()
        if membership == "join"
    ]
    known = rooms.of_ids(tx, joined)
    return frozenset(
        child.room_id for space in summarise_all(tx, known.values()) for child in children_of(tx, space)
    )
