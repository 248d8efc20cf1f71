"""What a process knows of its waiting clients' users; the tail keeps it right, and it may be forgotten at any time."""

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.services.sync.key_counts import KeySections
from homeserver.services.sync.unread import UnreadCounts


class UserRooms(msgspec.Struct, frozen=True):
    """What a user listens to: the own topic and those of the joined rooms, as of `position`; and to whom not."""

    position: int
    topics: frozenset[str]
    ignored: frozenset[str]


class Remembered:
    """What this process knows of its clients' users, kept right by the tail: it may be forgotten at any time."""

    MOST_USERS = 20_000
    MOST_COUNTS = 50_000

    def __init__(self) -> None:
        self._rooms: OrderedDict[UserID, UserRooms] = OrderedDict()
        self._keys: OrderedDict[UserID, dict[str, KeySections]] = OrderedDict()
        self._unread: OrderedDict[tuple[UserID, RoomID], tuple[int, UnreadCounts]] = OrderedDict()

    def rooms(self, user_id: UserID) -> UserRooms | None:
        """What the user listens to."""
        found = self._rooms.get(user_id)
        if found is not None:
            self._rooms.move_to_end(user_id)
        return found

    def remember_rooms(self, user_id: UserID, rooms: UserRooms) -> None:
        """As it was read from the database."""
        self._rooms[user_id] = rooms
        if len(self._rooms) > self.MOST_USERS:
            self._rooms.popitem(last=False)

    def forget_rooms(self, user_id: UserID) -> None:
        """The user's memberships have changed."""
        self._rooms.pop(user_id, None)

    def keys(self, user_id: UserID, device_id: str) -> KeySections | None:
        """What one of the user's devices is told of its keys."""
        found = self._keys.get(user_id)
        if found is None:
            return None
        self._keys.move_to_end(user_id)
        return found.get(device_id)

    def remember_keys(self, user_id: UserID, device_id: str, keys: KeySections) -> None:
        """As it was read from the database."""
        self._keys.setdefault(user_id, {})[device_id] = keys
        if len(self._keys) > self.MOST_USERS:
            self._keys.popitem(last=False)

    def forget_keys(self, user_id: UserID) -> None:
        """What the user's devices have of keys has changed, or which devices there are."""
        self._keys.pop(user_id, None)

    def unread(self, user_id: UserID, room_id: RoomID) -> tuple[int, UnreadCounts] | None:
        """The user's unread counts in the room, and the position that they were told at."""
        found = self._unread.get((user_id, room_id))
        if found is not None:
            self._unread.move_to_end((user_id, room_id))
        return found

    def remember_unread(self, user_id: UserID, position: int, counts: Mapping[RoomID, UnreadCounts]) -> None:
        """As they were told at `position`."""
        for room_id, count in counts.items():
            known = self._unread.get((user_id, room_id))
            if known is None or known[0] < position:
                self._unread[user_id, room_id] = position, count
        while len(self._unread) > self.MOST_COUNTS:
            self._unread.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: what keeps it right has been interrupted."""
        self._rooms.clear()
        self._keys.clear()
        self._unread.clear()
