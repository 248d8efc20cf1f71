"""The trie behaves as a dictionary, shares what it does not touch, and compares at the price of the difference."""

import itertools
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import state_trie
from homeserver.core.state_trie import EMPTY, LEAF_LIMIT, Branch, Leaf, Node

keys = st.integers(min_value=1, max_value=2**62)
events = st.integers(min_value=1, max_value=2**62)
states = st.dictionaries(keys, events, max_size=200)
changes = st.dictionaries(keys, st.none() | events, max_size=50)


class Store:
    """Nodes by number, through the stored form; counts what is loaded."""

    def __init__(self) -> None:
        self._stored: dict[int, bytes] = {}
        self._numbers = itertools.count(1)
        self.loaded = 0

    def load(self, nids: Sequence[int]) -> Mapping[int, Node]:
        self.loaded += len(nids)
        return {nid: state_trie.decode(self._stored[nid]) for nid in nids}

    def new_nid(self) -> int:
        return next(self._numbers)

    def put(self, root: int, changed: Mapping[int, int | None]) -> int:
        new_root, made = state_trie.put(root, changed, self.load, self.new_nid)
        self._stored.update((nid, state_trie.encode(node)) for nid, node in made.items())
        self.made = len(made)
        return new_root


@given(states, st.lists(changes, max_size=4))
def test_it_behaves_as_a_dictionary(first: dict[int, int], later: list[dict[int, int | None]]) -> None:
    store = Store()
    root = store.put(EMPTY, first)
    model = dict(first)
    for changed in later:
        root = store.put(root, changed)
        for key, event in changed.items():
            if event is None:
                model.pop(key, None)
            else:
                model[key] = event
    assert dict(state_trie.items(root, store.load)) == model
    for key in [*model, 5, 2**61]:
        assert state_trie.get(root, key, store.load) == model.get(key)


@given(st.lists(states, max_size=4), st.lists(keys, max_size=5, unique=True))
def test_several_states_are_asked_at_once(several: list[dict[int, int]], wanted: list[int]) -> None:
    store = Store()
    by_root = {store.put(EMPTY, each): each for each in several}
    asked = [*wanted, *itertools.islice(itertools.chain.from_iterable(several), 5)]
    found = state_trie.get_across(by_root, asked, store.load)
    assert found == {root: {key: each[key] for key in asked if key in each} for root, each in by_root.items()}


@given(states, changes)
def test_older_states_stay(first: dict[int, int], changed: dict[int, int | None]) -> None:
    store = Store()
    root = store.put(EMPTY, first)
    store.put(root, changed)
    assert dict(state_trie.items(root, store.load)) == first


@given(states, states)
def test_the_difference_is_that_of_the_dictionaries(old: dict[int, int], new: dict[int, int]) -> None:
    store = Store()
    found = state_trie.diff(store.put(EMPTY, old), store.put(EMPTY, new), store.load)
    expected = {
        key: (old.get(key), new.get(key)) for key in old.keys() | new.keys() if old.get(key) != new.get(key)
    }
    assert found == expected


@given(states)
def test_setting_what_is_there_changes_nothing(state: dict[int, int]) -> None:
    store = Store()
    root = store.put(EMPTY, state)
    assert store.put(root, state) == root
    assert store.made == 0


def test_a_change_in_a_large_state_writes_a_few_small_nodes() -> None:
    store = Store()
    root = store.put(EMPTY, {key: key for key in range(1, 5001)})
    for key in range(1, 500):
        root = store.put(root, {key: 10_000 + key})
        assert store.made <= 4
    store.loaded = 0
    other = store.put(root, {17: 99})
    store.loaded = 0
    assert state_trie.diff(root, other, store.load) == {17: (10_017, 99)}
    assert store.loaded <= 8


def test_keys_that_were_given_out_one_after_the_other_spread_evenly() -> None:
    store = Store()
    root = store.put(EMPTY, dict.fromkeys(range(1, 20001), 1))
    level, depth = [root], 0
    while level:
        nodes = store.load(level).values()
        leaves = [node for node in nodes if isinstance(node, Leaf)]
        assert all(len(leaf.pairs) <= LEAF_LIMIT for leaf in leaves)
        level = [c for node in nodes if isinstance(node, Branch) for c in node.children if c]
        depth += 1
    assert depth <= 5
