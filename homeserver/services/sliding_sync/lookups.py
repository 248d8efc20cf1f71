"""What is looked up for one answer, each thing once, however many rooms ask for it."""

from collections.abc import Collection, Mapping

from homeserver.core.event import StateKey
from homeserver.core.sliding_sync.required_state import MEMBER
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import events, state
from homeserver.storage.events import StoredEvent

MOST_NAMES = 500
"""Keys of one type, in all rooms together, that are looked for one by one."""


class Lookups:
    """In one snapshot."""

    def __init__(self, tx: ReadTransaction) -> None:
        self._tx = tx
        self._numbers: dict[frozenset[StateKey], Mapping[int, StateKey]] = {}
        self._names: dict[str, Mapping[int, StateKey] | None] = {}
        self._stored: dict[int, StoredEvent] = {}

    def state(self, root: int, keys: frozenset[StateKey]) -> dict[StateKey, int]:
        """The numbers of the events that the state has for those of the keys that it holds."""
        numbers = self._numbers.get(keys)
        if numbers is None:
            found = ((state.key_nid(self._tx, key), key) for key in sorted(keys))
            numbers = self._numbers[keys] = {nid: key for nid, key in found if nid is not None}
        return state.of_numbers(self._tx, root, numbers) if numbers else {}

    def state_of_types(self, root: int, types: Collection[str]) -> dict[StateKey, int] | None:
        """As `state`, for all keys of these types; `None` if there are too many to look for each.

        So there is no need to look at all members of a large room for the sake of some rare type.
        """
        names = [self._names_of(kind) for kind in sorted(types)]
        found: dict[StateKey, int] = {}
        for each in names:
            if each is None:
                return None
            found |= state.of_numbers(self._tx, root, each)
        return found

    def events(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        """The events with these numbers."""
        missing = [nid for nid in nids if nid not in self._stored]
        if missing:
            self._stored |= events.of_nids(self._tx, missing)
        return {nid: self._stored[nid] for nid in nids}

    def _names_of(self, kind: str) -> Mapping[int, StateKey] | None:
        if kind not in self._names:
            few = None if kind == MEMBER else state.numbers_of_type(self._tx, kind, most=MOST_NAMES)
            self._names[kind] = few
        return self._names[kind]
