"""Room state: keys, trie nodes, and which root was current when."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import bindparam, desc, select

from homeserver.core import state_trie
from homeserver.core.event import StateKey
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.state import room_states, state_keys, state_nodes
from homeserver.database.transactions import ReadTransaction, WriteTransaction

KEY = statement(
    select(state_keys.c.key_nid).where(
        state_keys.c.type == bindparam("type"), state_keys.c.state_key == bindparam("state_key")
    )
)
KEYS_OF = statement(
    select(state_keys.c.key_nid, state_keys.c.type, state_keys.c.state_key).where(
        in_list(state_keys.c.key_nid, "key_nids")
    )
)
KEYS_OF_TYPE = statement(
    select(state_keys.c.key_nid, state_keys.c.state_key).where(
        state_keys.c.type == bindparam("type"), in_list(state_keys.c.state_key, "state_keys")
    )
)
SOME_OF_TYPE = statement(
    select(state_keys.c.key_nid, state_keys.c.state_key)
    .where(state_keys.c.type == bindparam("type"))
    .limit(bindparam("most"))
)
INSERT_KEY = insert_into(state_keys, ignore_conflict=True)
NODES = statement(
    select(state_nodes.c.node_nid, state_nodes.c.node).where(in_list(state_nodes.c.node_nid, "node_nids"))
)
INSERT_NODE = insert_into(state_nodes)
ROOT_AT = statement(
    select(room_states.c.state_root)
    .where(room_states.c.room_nid == bindparam("room_nid"), room_states.c.position <= bindparam("at"))
    .order_by(desc(room_states.c.position))
    .limit(1)
)
INSERT_ROOT = insert_into(room_states)
"""Takes `position` when it is published, like the event that changed the state."""


def loader(tx: ReadTransaction) -> state_trie.Load:
    """Loads trie nodes through the cache; nodes never change."""
    cache = tx.caches.nodes

    def load(nids: Sequence[int]) -> Mapping[int, state_trie.Node]:
        found: dict[int, state_trie.Node] = {}
        missing: list[int] = []
        for nid in nids:
            node = cache.get(nid)
            if node is None:
                missing.append(nid)
            else:
                found[nid] = node
        if missing:
            for nid, data in tx.all(NODES, node_nids=missing):
                found[nid] = node = state_trie.decode(data)
                cache.put(nid, node)
        return found

    return load


def key_nid(tx: ReadTransaction, key: StateKey) -> int | None:
    """The number of a state key, `None` if no room has ever used it."""
    nid = tx.caches.keys.get(key)
    if nid is None:
        nid = tx.value(KEY, type=key[0], state_key=key[1])
        if nid is not None:
            tx.remember(tx.caches.keys, key, nid)
    return nid


def make_key_nid(tx: WriteTransaction, key: StateKey) -> int:
    """The number of a state key, made if it is new."""
    nid = key_nid(tx, key)
    if nid is None:
        tx.execute(INSERT_KEY, key_nid=tx.new_nid(), type=key[0], state_key=key[1])
        nid = key_nid(tx, key)
        assert nid is not None  # noqa: S101 - it was inserted, here or by another transaction
    return nid


def make_key_nids(tx: WriteTransaction, keys: Collection[StateKey]) -> dict[StateKey, int]:
    """The numbers of many state keys, made where they are new; a few statements for each type."""
    found = {key: nid for key in keys if (nid := tx.caches.keys.get(key)) is not None}
    by_type: dict[str, list[str]] = {}
    for kind, state_key in keys:
        if (kind, state_key) not in found:
            by_type.setdefault(kind, []).append(state_key)
    for kind, wanted in by_type.items():
        known = _numbers_of(tx, kind, wanted)
        new = [state_key for state_key in sorted(wanted) if (kind, state_key) not in known]
        if new:
            rows = [{"key_nid": tx.new_nid(), "type": kind, "state_key": state_key} for state_key in new]
            tx.execute_many(INSERT_KEY, rows)
            known |= _numbers_of(tx, kind, new)
        found |= known
        for key, nid in known.items():
            tx.remember(tx.caches.keys, key, nid)
    return found


def _numbers_of(tx: ReadTransaction, kind: str, wanted: Collection[str]) -> dict[StateKey, int]:
    rows = tx.all(KEYS_OF_TYPE, type=kind, state_keys=sorted(wanted))
    return {(kind, state_key): nid for nid, state_key in rows}


def keys_of(tx: ReadTransaction, key_nids: Collection[int]) -> dict[int, StateKey]:
    """The state keys of these numbers."""
    cache = tx.caches.key_names
    found: dict[int, StateKey] = {}
    missing: list[int] = []
    for nid in key_nids:
        name = cache.get(nid)
        if name is None:
            missing.append(nid)
        else:
            found[nid] = name
    if missing:
        for nid, *key in tx.all(KEYS_OF, key_nids=missing):
            found[nid] = name = (key[0], key[1])
            tx.remember(cache, nid, name)
    return found


def get(tx: ReadTransaction, root: int, key: StateKey) -> int | None:
    """The number of the event that the state has for `key`."""
    nid = key_nid(tx, key)
    return None if nid is None else state_trie.get(root, nid, loader(tx))


def get_many(tx: ReadTransaction, root: int, keys: Iterable[StateKey]) -> dict[StateKey, int]:
    """The numbers of the events that the state has for those of `keys` that it holds."""
    load = loader(tx)
    found: dict[StateKey, int] = {}
    for key in keys:
        nid = key_nid(tx, key)
        event = None if nid is None else state_trie.get(root, nid, load)
        if event is not None:
            found[key] = event
    return found


def get_across(
    tx: ReadTransaction, roots: Collection[int], keys: Collection[StateKey]
) -> dict[int, dict[StateKey, int]]:
    """As `get_many` for several states, by their roots; the nodes are read with a few statements for all of them."""
    names = {nid: key for key in keys if (nid := key_nid(tx, key)) is not None}
    found = state_trie.get_across(roots, names, loader(tx))
    return {root: {names[nid]: event for nid, event in events.items()} for root, events in found.items()}


def numbers_of_type(tx: ReadTransaction, kind: str, *, most: int) -> dict[int, StateKey] | None:
    """All keys of this type that any room has used, by number; `None` if they are more than `most`."""
    rows = tx.all(SOME_OF_TYPE, type=kind, most=most + 1)
    return None if len(rows) > most else {nid: (kind, state_key) for nid, state_key in rows}


def of_numbers(tx: ReadTransaction, root: int, names: Mapping[int, StateKey]) -> dict[StateKey, int]:
    """The numbers of the events that the state has for those of the keys, given by number, that it holds."""
    found = state_trie.get_across((root,), names, loader(tx))[root]
    return {names[nid]: event for nid, event in found.items()}


def members(tx: ReadTransaction, root: int, user_ids: Collection[str]) -> dict[str, int]:
    """The numbers of these users' membership events, read with two statements at most for many users."""
    load = loader(tx)
    rows = tx.all(KEYS_OF_TYPE, type="m.room.member", state_keys=sorted(user_ids))
    found = ((user_id, state_trie.get(root, nid, load)) for nid, user_id in rows)
    return {user_id: event for user_id, event in found if event is not None}


def event_nids(tx: ReadTransaction, root: int) -> list[int]:
    """The numbers of all events of the state."""
    return [event for _, event in state_trie.items(root, loader(tx))]


def whole(tx: ReadTransaction, root: int) -> dict[StateKey, int]:
    """The whole state: key to event number."""
    pairs = dict(state_trie.items(root, loader(tx)))
    keys = keys_of(tx, pairs)
    return {keys[key]: event for key, event in pairs.items()}


def difference(tx: ReadTransaction, old: int, new: int) -> dict[StateKey, tuple[int | None, int | None]]:
    """What differs between two states; costs what differs."""
    changes = state_trie.diff(old, new, loader(tx))
    keys = keys_of(tx, changes)
    return {keys[key]: pair for key, pair in changes.items()}


def put(tx: WriteTransaction, room_nid: int, root: int, changes: Mapping[StateKey, int | None]) -> int:
    """The root of the state with these keys set, or removed where `None`; its new nodes are stored."""
    numbered = {make_key_nid(tx, key): event for key, event in changes.items()}
    new_root, nodes = state_trie.put(root, numbered, loader(tx), tx.new_nid)
    for nid, node in nodes.items():
        tx.execute(INSERT_NODE, node_nid=nid, room_nid=room_nid, node=state_trie.encode(node))
        # Safe before the commit: a number that is rolled back is never used again.
        tx.caches.nodes.put(nid, node)
    return new_root


def make(tx: WriteTransaction, room_nid: int, whole: Mapping[StateKey, int]) -> int:
    """The root of a new state, key to event number; its nodes are stored."""
    numbers = make_key_nids(tx, whole)
    pairs = {numbers[key]: event for key, event in whole.items()}
    root, nodes = state_trie.put(state_trie.EMPTY, pairs, loader(tx), tx.new_nid)
    rows = [
        {"node_nid": nid, "room_nid": room_nid, "node": state_trie.encode(node)}
        for nid, node in nodes.items()
    ]
    tx.execute_many(INSERT_NODE, rows)
    return root


def root_at(tx: ReadTransaction, room_nid: int, position: int) -> int:
    """The room's current state as of `position`; the empty state if the room was not there yet."""
    root: int | None = tx.value(ROOT_AT, room_nid=room_nid, at=position)
    return state_trie.EMPTY if root is None else root
