"""Which rooms belong to a list. Spec: MSC4186, "SlidingRoomFilter"."""

from collections.abc import Collection

import msgspec


class RoomFacts(msgspec.Struct, frozen=True):
    """What filters ask of a room; `room_type` is `None` for a room without one."""

    is_dm: bool = False
    is_invited: bool = False
    is_encrypted: bool = False
    room_type: str | None = None
    tags: Collection[str] = ()
    is_in_space: bool = False
    """Whether any of the spaces of the filter names the room."""


class RoomFilter(msgspec.Struct, frozen=True):
    """All conditions must hold; `None` is no condition."""

    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invited: bool | None = None
    room_types: frozenset[str | None] | None = None
    not_room_types: frozenset[str | None] | None = None
    spaces: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    not_tags: frozenset[str] | None = None

    @property
    def asks_for_state(self) -> bool:
        """Whether the rooms' state matters."""
        return not (self.is_encrypted is None and self.room_types is None and self.not_room_types is None)

    @property
    def asks_for_tags(self) -> bool:
        """Whether the user's tags matter."""
        return not (self.tags is None and self.not_tags is None)

    @property
    def is_open(self) -> bool:
        """Whether every room passes."""
        return self == _OPEN

    def admits(self, room: RoomFacts) -> bool:
        """Whether the room is one of the list's. What is excluded is so even if it is included, too."""
        return (
            self.is_dm in (None, room.is_dm)
            and self.is_invited in (None, room.is_invited)
            and self.is_encrypted in (None, room.is_encrypted)
            and (self.room_types is None or room.room_type in self.room_types)
            and (self.not_room_types is None or room.room_type not in self.not_room_types)
            and (self.spaces is None or room.is_in_space)
            and (self.tags is None or not self.tags.isdisjoint(room.tags))
            and (self.not_tags is None or self.not_tags.isdisjoint(room.tags))
        )


_OPEN = RoomFilter()
