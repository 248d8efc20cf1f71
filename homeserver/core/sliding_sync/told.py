"""What a connection's client has been told of its rooms, and how that is kept from one answer to the next.

Whatever happens in a room that was part of the last answer's windows has been told up to that answer's position. So
the record of such a room says nothing of positions, and stays as it is while the room's events are sent. It
changes when the room leaves the windows, when it returns, and when the client wants something else of it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Self, TypeAlias

import msgspec

from homeserver.core.sliding_sync.required_state import RequiredState

Rules: TypeAlias = tuple[RequiredState, ...]

UP_TO_DATE: Final = 0
"""In `RoomRecord.upto`: as far as the token that the record belongs to."""

EVERYTHING: Final = 2**31
"""In `RoomRecord.limit`: all events that there are for the client."""

DIRECT: Final = 1
"""In `RoomRecord.flags`: the client knows the room as a direct chat."""
OUTSIDE: Final = 2
"""In `RoomRecord.flags`: the client has been told of an invitation, a knock or the end of one, not of the room."""
LEFT: Final = 4
"""In `RoomRecord.flags`: the client has been told that the user is not in the room any more."""

ACCOUNT_DATA: Final = 8
"""In `RoomRecord.flags`: the client has the room's account data as far as it has the room."""
RECEIPTS: Final = 16
"""In `RoomRecord.flags`: likewise what receipts there are."""
TYPING: Final = 32
"""In `RoomRecord.flags`: likewise who types."""
_EXTENDED: Final = ACCOUNT_DATA | RECEIPTS | TYPING

MOST_CHANGES: Final = 64
"""Records that may differ from the last complete list before a new one is written; in a long list, a quarter of it."""

MOST_UNUSED: Final = 2
"""Configurations that no record refers to any more before they are left out, for which all may be written anew."""

MOST_CONFIG_BYTES: Final = 512 * 1024
"""What the configurations of one connection may take, which is twice what one request may."""


class RoomRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the client has of one room.

    `upto`: the position up to which it has been told everything, or `UP_TO_DATE`. `config`: the place of the
    rules of required state that were applied last. `limit`: how many of the newest events it has at least.
    """

    upto: int
    config: int
    limit: int
    flags: int

    def is_(self, flag: int) -> bool:
        """Whether a flag is set."""
        return bool(self.flags & flag)


class _Document(msgspec.Struct, array_like=True):
    """As it is stored: complete, or what differs from a complete one (rules and configurations are complete in both).

    A configuration is a list of places in `rules`.
    """

    rules: list[RequiredState]
    configs: list[list[int]]
    rooms: dict[int, RoomRecord]
    extensions: int = 0

    @classmethod
    def of(cls, configs: Sequence[Rules], rooms: dict[int, RoomRecord], extensions: int) -> Self:
        """Say each rule once."""
        places: dict[RequiredState, int] = {}
        numbered = [[places.setdefault(rule, len(places)) for rule in rules] for rules in configs]
        return cls(list(places), numbered, rooms, extensions)

    def all_configs(self) -> tuple[Rules, ...]:
        """The configurations in full."""
        return tuple(tuple(self.rules[place] for place in config) for config in self.configs)


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Document)


class Told(msgspec.Struct, frozen=True, eq=False):
    """The records by the rooms' numbers; `configs` are what they refer to.

    `extensions` are those that the last answer had been asked for, as bits: what the others have to tell beside rooms
    is not known.
    """

    configs: tuple[Rules, ...] = ()
    rooms: Mapping[int, RoomRecord] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    extensions: int = 0

    @classmethod
    def decode(cls, stored: bytes) -> Self:
        """What `encode` has made of it."""
        document = _decoder.decode(stored)
        return cls(document.all_configs(), document.rooms, document.extensions)

    def encode(self) -> bytes:
        """All of it."""
        return _encoder.encode(_Document.of(self.configs, dict(self.rooms), self.extensions))

    def changed(self, stored: bytes) -> "Told":
        """This, with the changes that `changes_since` has stored."""
        document = _decoder.decode(stored)
        return Told(document.all_configs(), {**self.rooms, **document.rooms}, document.extensions)

    def changes_since(self, base: "Told") -> bytes | None:
        """What differs from `base`, from which this has been made; `None` if it is time to write all of it anew."""
        if self.configs[: len(base.configs)] != base.configs:
            return None
        rooms = {nid: record for nid, record in self.rooms.items() if base.rooms.get(nid) != record}
        if len(rooms) > max(MOST_CHANGES, len(self.rooms) // 4):
            return None
        return _encoder.encode(_Document.of(self.configs, rooms, self.extensions))

    def compact(self) -> "Told":
        """The same without configurations that no record refers to."""
        used = sorted(self._used)
        places = {old: new for new, old in enumerate(used)}
        rooms = {
            nid: RoomRecord(record.upto, places[record.config], record.limit, record.flags)
            for nid, record in self.rooms.items()
        }
        return Told(tuple(self.configs[old] for old in used), rooms, self.extensions)

    @property
    def _used(self) -> set[int]:
        return {record.config for record in self.rooms.values()}

    @property
    def unused(self) -> int:
        """How many configurations no record refers to."""
        return len(self.configs) - len(self._used)

    @property
    def is_too_long(self) -> bool:
        """Whether the configurations are more than is kept for one connection."""
        return len(_encoder.encode(_Document.of(self.configs, {}, 0))) > MOST_CONFIG_BYTES


class Telling:
    """What the client will have been told with the answer that is being made."""

    def __init__(self, before: Told) -> None:
        self._before = before
        self._configs = list(before.configs)
        self._places = {rules: place for place, rules in enumerate(before.configs)}
        self._changes: dict[int, RoomRecord] = {}
        self.extensions = 0

    def place_of(self, rules: Rules) -> int:
        """The place of these rules in the list, where they are put if they are new."""
        place = self._places.get(rules)
        if place is None:
            place = self._places[rules] = len(self._configs)
            self._configs.append(rules)
        return place

    def record(self, room_nid: int, record: RoomRecord) -> None:
        """The client has this of the room now."""
        if self._before.rooms.get(room_nid) != record:
            self._changes[room_nid] = record

    def extend(self, room_nid: int, flags: int) -> None:
        """Of a room that has been told: the client has what those extensions say of it, and lacks what others do."""
        record = self._changes.get(room_nid) or self._before.rooms.get(room_nid)
        if record is None or record.flags & _EXTENDED == flags:
            return
        self._changes.pop(room_nid, None)
        flags |= record.flags & ~_EXTENDED
        self.record(room_nid, RoomRecord(record.upto, record.config, record.limit, flags))

    def untold(self, room_nid: int, upto: int) -> None:
        """Nothing could be told of the room: the client has what it had, and knows of what happened up to `upto`."""
        self._changes.pop(room_nid, None)
        before = self._before.rooms.get(room_nid)
        if before is not None and before.upto == UP_TO_DATE:
            self._changes[room_nid] = RoomRecord(upto, before.config, before.limit, before.flags)

    def done(self) -> Told:
        """All records; the very object that there was before if nothing has changed."""
        if not self._changes and self.extensions == self._before.extensions:
            return self._before
        told = Told(tuple(self._configs), {**self._before.rooms, **self._changes}, self.extensions)
        return told.compact() if told.unused > MOST_UNUSED else told
