"""Bounded caches of immutable things, shared by all threads of a process."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A bounded mapping of immutable values: the oldest quarter leaves when it is full.

    A hit costs one dictionary look-up and takes no lock: single dictionary operations are atomic in
    CPython, and an entry lost to a race is read again. An entry that is asked for survives the next
    clearing (a second-chance mark), which is close enough to least-recently-used for immutable values.
    """

    __slots__ = ("_entries", "_limit", "_used")

    def __init__(self, limit: int) -> None:
        self._entries: dict[K, V] = {}
        self._used: set[K] = set()
        self._limit = limit

    def get(self, key: K) -> V | None:
        """The value, or `None` if it is not cached."""
        value = self._entries.get(key)
        if value is not None:
            self._used.add(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember `value`; an equal value may be put again."""
        if len(self._entries) >= self._limit:
            self._evict()
        self._entries[key] = value

    def drop(self, keys: Iterable[K]) -> None:
        """Forget these keys."""
        for key in keys:
            self._entries.pop(key, None)
            self._used.discard(key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._used.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def _evict(self) -> None:
        used, self._used = self._used, set()
        keys = list(self._entries)
        spare = [key for key in keys if key not in used] or keys
        for key in spare[: max(1, len(keys) // 4)]:
            self._entries.pop(key, None)
