"""The windows of lists, and what is wanted of the rooms in them. Spec: MSC4186, "Lists and subscriptions"."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from homeserver.core.sliding_sync.requests import RoomConfig
from homeserver.core.sliding_sync.required_state import combine

T = TypeVar("T")


def window(rooms: Sequence[T], ranges: Iterable[tuple[int, int]] | None) -> list[T]:
    """The rooms in any of the ranges, whose ends both count; all of them if there are none."""
    if ranges is None:
        return list(rooms)
    wanted: set[int] = set()
    for first, last in ranges:
        wanted.update(range(first, min(last + 1, len(rooms))))
    return [rooms[index] for index in sorted(wanted)]


class Match(msgspec.Struct):
    """Why a room is of interest: the lists in whose windows it is, and whether it is subscribed to."""

    configs: list[RoomConfig] = msgspec.field(default_factory=list)
    lists: tuple[str, ...] = ()
    is_subscribed: bool = False


class Configs:
    """Combines what several lists and subscriptions want of a room; the same combination only once."""

    def __init__(self) -> None:
        self._combined: dict[tuple[int, ...], RoomConfig] = {}

    def of(self, match: Match) -> RoomConfig:
        """The superset of all that is wanted of the room. Spec: MSC4186, "Combining room configs"."""
        if len(match.configs) == 1:
            return match.configs[0]
        key = tuple(sorted({id(config) for config in match.configs}))
        found = self._combined.get(key)
        if found is None:
            found = self._combined[key] = RoomConfig(
                max(config.timeline_limit for config in match.configs),
                combine(config.required_state for config in match.configs),
            )
        return found


def counts(sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The `lists` of an answer: how many rooms pass each list's filter."""
    return {name: b'{"count":%d}' % size for name, size in sizes.items()}
