"""What the filters of lists ask of rooms: found for many rooms at once, and only if it is asked for."""

from collections.abc import Collection, Mapping

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import decode_object
from homeserver.core.sliding_sync.room_filters import RoomFacts, RoomFilter
from homeserver.core.space_children import SPACE
from homeserver.database.transactions import ReadTransaction
from homeserver.services.room_summaries import children_in
from homeserver.services.spoilt_rooms import left_out
from homeserver.services.state_facts import StateFacts, state_facts
from homeserver.storage import account_data
from homeserver.storage.memberships import RoomOfUser


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
            self._state = state_facts(tx, user_id, listed)
        self._tags: Mapping[RoomID, Collection[str]] = {}
        if any(each.asks_for_tags for each in filters):
            self._tags = _tags(tx, user_id)
        spaces = {each.spaces for each in filters if each.spaces is not None}
        self._children = {
            wanted: _children(
                tx, user_id, [room for room in listed if room.membership == "join" and room.room_id in wanted]
            )
            for wanted in spaces
        }

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


def _tags(tx: ReadTransaction, user_id: UserID) -> dict[RoomID, Collection[str]]:
    found: dict[RoomID, Collection[str]] = {}
    for room_id, content in account_data.of_all_rooms(tx, user_id, "m.tag").items():
        with left_out(room_id, user_id):
            tags = decode_object(content).get("tags")
            if isinstance(tags, dict):
                found[room_id] = tags.keys()
    return found


def _children(tx: ReadTransaction, user_id: UserID, joined: Collection[RoomOfUser]) -> frozenset[str]:
    """The rooms that those of the `joined` ones name which are spaces."""
    facts = state_facts(tx, user_id, joined)
    found: set[str] = set()
    for room in joined:
        if facts.get(room.room_nid, _UNKNOWN).room_type == SPACE:
            with left_out(room.room_id, user_id):
                found.update(child.room_id for child in children_in(tx, room.state_root))
    return frozenset(found)
