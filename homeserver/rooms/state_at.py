"""The state at a place of a room's history: what the states after several events come down to.

A state is a root of the trie. Where events agree, which is nearly always, it is at hand; where they do not, only what
differs between their tries is read and resolved. Spec: server-server API, "Room State Resolution".
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from homeserver.core.event import StateKey
from homeserver.core.identifiers import EventID
from homeserver.core.room_versions import StateResolution
from homeserver.core.state_resolution import auth_difference, resolve_conflicted, settled_by_citations
from homeserver.core.state_trie import EMPTY
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.rooms.event_graph import EventGraph
from homeserver.storage import state


class State(msgspec.Struct, frozen=True):
    """A state: that of a stored root, but for `changes` (event numbers, None where an entry has gone)."""

    base: int
    changes: Mapping[StateKey, int | None] = msgspec.field(default_factory=dict)

    def nids(self, tx: ReadTransaction, keys: Iterable[StateKey]) -> dict[StateKey, int]:
        """The numbers of the events that the state has for those of `keys` that it holds."""
        if not self.changes:
            return state.get_many(tx, self.base, keys)
        keys = list(keys)
        found = state.get_many(tx, self.base, [key for key in keys if key not in self.changes])
        changed = {key: self.changes[key] for key in keys if key in self.changes}
        return found | {key: nid for key, nid in changed.items() if nid is not None}

    def is_root(self, root: int) -> bool:
        """Whether it is known to be the state of this root."""
        return self.base == root and not self.changes


def merge(graph: EventGraph, roots: Collection[int]) -> State:
    """The state that these states come down to; of no states, the empty one.

    Errors: KeyError if the room's events are not complete.
    """
    found = remembered(graph.tx, roots)
    if found is None:
        found = _resolve(graph, sorted(set(roots), reverse=True))
        graph.tx.remember(graph.tx.caches.resolutions, frozenset(roots), found)
    return found


def remembered(tx: ReadTransaction, roots: Collection[int]) -> State | None:
    """As `merge`, if that needs no work; else None."""
    distinct = frozenset(roots)
    if len(distinct) <= 1:
        return State(next(iter(distinct), EMPTY))
    known: State | None = tx.caches.resolutions.get(distinct)
    return known


def put(tx: WriteTransaction, room_nid: int, merged: State, roots: Collection[int]) -> int:
    """The root of a state that `merge` has given for `roots`, stored if it is not."""
    if not merged.changes:
        return merged.base
    root = state.put(tx, room_nid, merged.base, merged.changes)
    tx.remember(tx.caches.resolutions, frozenset(roots), State(root))
    return root


def _resolve(graph: EventGraph, roots: list[int]) -> State:
    """Resolve what differs from the first of the states."""
    tx, version = graph.tx, graph.version
    base, others = roots[0], roots[1:]
    differences = [state.difference(tx, base, other) for other in others]
    in_base = {key: pair[0] for difference in differences for key, pair in difference.items()}
    if not in_base:
        return State(base)
    sets = [in_base] + [
        {key: difference[key][1] if key in difference else in_base[key] for key in in_base}
        for difference in differences
    ]
    ids = graph.ids_of({nid for each in sets for nid in each.values() if nid is not None})
    conflicted = {key: {ids[nid] for each in sets if (nid := each[key]) is not None} for key in in_base}

    def unconflicted(key: StateKey) -> EventID | None:
        if key in in_base:
            return None
        nid = state.get(tx, base, key)
        return None if nid is None else graph.ids_of([nid])[nid]

    difference: Collection[EventID] = ()
    if version.state_resolution is not StateResolution.V1:
        conflicted_sets = [[ids[nid] for nid in each.values() if nid is not None] for each in sets]
        settled = settled_by_citations(unconflicted, graph.fetch, graph.cited_by)
        difference = auth_difference(conflicted_sets, settled, graph.links)
    resolved = resolve_conflicted(
        version,
        conflicted,
        unconflicted,
        graph.fetch,
        auth_difference=difference,
        links=graph.links,
    )
    places = graph.places(resolved.values())
    numbers = {key: places[event_id].event_nid for key, event_id in resolved.items()}
    wanted: dict[StateKey, int | None] = {**dict.fromkeys(in_base), **numbers}
    return State(
        base, {key: nid for key, nid in wanted.items() if in_base.get(key) != nid or key not in in_base}
    )
