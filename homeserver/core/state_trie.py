"""Room state as a persistent hash trie: changes share all nodes they do not touch.

A state maps `key_nid` (a state key's number) to `event_nid`. A leaf is a sorted tuple of pairs, a branch has sixteen
children, chosen by four bits of a scrambled key at each level. Nodes are immutable and known by
their number; the root's number names the state. Number 0 is the empty state.

Everything here works level by level, so that a caller can load the nodes of a level in one query.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

LEAF_LIMIT = 48
EMPTY = 0
_FANOUT = 16
_MASK = (1 << 64) - 1

Load = Callable[[Sequence[int]], Mapping[int, "Node"]]
"""Gives the nodes with these numbers."""

NewNid = Callable[[], int]


class Leaf(msgspec.Struct, frozen=True):
    """Some pairs of the state: key number to event number."""

    pairs: dict[int, int]


class Branch(msgspec.Struct, frozen=True):
    """Sixteen children by number, 0 where there is none."""

    children: tuple[int, ...]


Node = Leaf | Branch


def encode(node: Node) -> bytes:
    """MessagePack: `[0, key, event, key, event, ...]` for a leaf, `[1, child, ...]` for a branch."""
    if isinstance(node, Branch):
        return msgspec.msgpack.encode((1, *node.children))
    flat = [0]
    for key, event in node.pairs.items():
        flat += (key, event)
    return msgspec.msgpack.encode(flat)


_decoder = msgspec.msgpack.Decoder(list[int])


def decode(data: bytes) -> Node:
    """The inverse of `encode`."""
    numbers = _decoder.decode(data)
    if numbers[0] == 1:
        return Branch(tuple(numbers[1:]))
    return Leaf(dict(zip(numbers[1::2], numbers[2::2], strict=True)))


def get(root: int, key: int, load: Load) -> int | None:
    """The event of one key, or `None`."""
    scrambled = _scramble(key)
    nid = root
    while nid != EMPTY:
        node = load((nid,))[nid]
        if isinstance(node, Leaf):
            return node.pairs.get(key)
        nid = node.children[scrambled >> 60]
        scrambled = (scrambled << 4) & _MASK
    return None


def get_across(roots: Collection[int], keys: Collection[int], load: Load) -> dict[int, dict[int, int]]:
    """The events of these keys in several states: by root, those that are there. A few loads for all of them."""
    found: dict[int, dict[int, int]] = {root: {} for root in roots}
    scrambled = {key: _scramble(key) for key in keys}
    level = [(root, root, key) for root in roots if root != EMPTY for key in keys]
    shift = 60
    while level:
        nodes = load(list({nid for _, nid, _ in level}))
        below: list[tuple[int, int, int]] = []
        for root, nid, key in level:
            node = nodes[nid]
            if isinstance(node, Branch):
                child = node.children[(scrambled[key] >> shift) & 15]
                if child != EMPTY:
                    below.append((root, child, key))
            elif (event := node.pairs.get(key)) is not None:
                found[root][key] = event
        level, shift = below, shift - 4
    return found


def items(root: int, load: Load) -> Iterator[tuple[int, int]]:
    """All pairs, in no particular order."""
    level = [root] if root != EMPTY else []
    while level:
        nodes = load(level)
        below: list[int] = []
        for nid in level:
            node = nodes[nid]
            if isinstance(node, Leaf):
                yield from node.pairs.items()
            else:
                below += (child for child in node.children if child != EMPTY)
        level = below


def diff(old: int, new: int, load: Load) -> dict[int, tuple[int | None, int | None]]:
    """What differs between two states: key to (event in `old`, event in `new`), `None` where absent.

    Costs what differs: subtrees that both states share are not visited.
    """
    before: dict[int, int] = {}
    after: dict[int, int] = {}
    level = [(old, new)] if old != new else []
    while level:
        nodes = load([nid for pair in level for nid in pair if nid != EMPTY])
        below: list[tuple[int, int]] = []
        for left, right in level:
            _compare(nodes.get(left), nodes.get(right), below, before, after)
        level = below
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _compare(
    left: Node | None,
    right: Node | None,
    below: list[tuple[int, int]],
    before: dict[int, int],
    after: dict[int, int],
) -> None:
    """Put pairs of leaves on record, and pairs of differing children on the next level."""
    if isinstance(left, Branch) and isinstance(right, Branch):
        below += (pair for pair in zip(left.children, right.children, strict=True) if pair[0] != pair[1])
        return
    for node, found, side in ((left, before, 0), (right, after, 1)):
        if isinstance(node, Leaf):
            found.update(node.pairs)
        elif isinstance(node, Branch):
            below += ((child, EMPTY) if side == 0 else (EMPTY, child) for child in node.children if child)


def put(
    root: int, changes: Mapping[int, int | None], load: Load, new_nid: NewNid
) -> tuple[int, dict[int, Node]]:
    """The state with these keys set (or removed, where the event is `None`).

    Gives the new root and the new nodes by number; `root` itself where nothing changes.
    """
    made: dict[int, Node] = {}

    def load_any(nids: Sequence[int]) -> Mapping[int, Node]:
        if len(nids) == 1 and nids[0] in made:
            return made
        return load(nids)

    scrambled = {key: _scramble(key) for key in changes}
    new_root = _put(root, dict(changes), 0, scrambled, load_any, new_nid, made)
    return new_root, made


def _put(
    nid: int,
    changes: dict[int, int | None],
    level: int,
    scrambled: dict[int, int],
    load: Load,
    new_nid: NewNid,
    made: dict[int, Node],
) -> int:
    node: Node = Leaf({}) if nid == EMPTY else load((nid,))[nid]
    if isinstance(node, Leaf):
        pairs = {key: event for key, event in node.pairs.items() if key not in changes}
        pairs.update((key, event) for key, event in changes.items() if event is not None)
        if pairs == node.pairs:
            return nid
        return _build(pairs, level, new_nid, made)
    shift = 60 - 4 * level
    by_child: dict[int, dict[int, int | None]] = {}
    for key, event in changes.items():
        by_child.setdefault((scrambled[key] >> shift) & 15, {})[key] = event
    children = list(node.children)
    for index, part in by_child.items():
        children[index] = _put(children[index], part, level + 1, scrambled, load, new_nid, made)
    if tuple(children) == node.children:
        return nid
    if not any(children):
        return EMPTY
    return _add(Branch(tuple(children)), new_nid, made)


def _build(pairs: dict[int, int], level: int, new_nid: NewNid, made: dict[int, Node]) -> int:
    """A subtree of these pairs, whose keys agree in the bits above `level`."""
    if not pairs:
        return EMPTY
    if len(pairs) <= LEAF_LIMIT:
        return _add(Leaf(dict(sorted(pairs.items()))), new_nid, made)
    shift = 60 - 4 * level
    parts: list[dict[int, int]] = [{} for _ in range(_FANOUT)]
    for key, event in pairs.items():
        parts[(_scramble(key) >> shift) & 15][key] = event
    return _add(Branch(tuple(_build(part, level + 1, new_nid, made) for part in parts)), new_nid, made)


def _add(node: Node, new_nid: NewNid, made: dict[int, Node]) -> int:
    nid = new_nid()
    made[nid] = node
    return nid


def _scramble(key: int) -> int:
    """Spread neighbouring numbers over the trie; one to one, so no two keys ever collide."""
    return (key * 0x9E3779B97F4A7C15) & _MASK
