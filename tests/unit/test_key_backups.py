"""Client-server API, "Server-side key backups": which of two keys is kept."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.key_backups import KeyMetadata, is_better

METADATA = st.builds(KeyMetadata, st.integers(0, 3), st.integers(0, 3), st.booleans())


def kept_of(keys: list[KeyMetadata]) -> KeyMetadata:
    """What a backup has, in the end, to which these have been sent one after the other."""
    kept = keys[0]
    for key in keys[1:]:
        kept = key if is_better(key, kept) else kept
    return kept


@pytest.mark.parametrize(
    ("new", "kept", "expected"),
    [
        # A different `is_verified` decides, whatever the rest says.
        (KeyMetadata(9, 9, 1), KeyMetadata(0, 0, 0), True),
        (KeyMetadata(0, 0, 0), KeyMetadata(9, 9, 1), False),
        # The same `is_verified`: the lower `first_message_index`, whatever the rest says.
        (KeyMetadata(1, 9, 1), KeyMetadata(2, 0, 1), True),
        (KeyMetadata(2, 0, 0), KeyMetadata(1, 9, 0), False),
        # Then the lower `forwarded_count`.
        (KeyMetadata(1, 1, 1), KeyMetadata(1, 2, 1), True),
        (KeyMetadata(1, 2, 0), KeyMetadata(1, 1, 0), False),
        (KeyMetadata(1, 1, 1), KeyMetadata(1, 1, 1), False),
    ],
)
def test_the_rules(new: KeyMetadata, kept: KeyMetadata, expected: bool) -> None:
    assert is_better(new, kept) is expected


@given(st.lists(METADATA, min_size=1, max_size=5))
def test_what_is_kept_does_not_depend_on_the_order(keys: list[KeyMetadata]) -> None:
    assert len({kept_of(list(order)) for order in itertools.permutations(keys)}) == 1


@given(st.lists(METADATA, min_size=1, max_size=5))
def test_nothing_that_was_sent_is_better_than_what_is_kept(keys: list[KeyMetadata]) -> None:
    kept = kept_of(keys)
    assert not any(is_better(key, kept) for key in keys)
    assert kept.is_verified == any(key.is_verified for key in keys)
    candidates = [key for key in keys if key.is_verified == kept.is_verified]
    assert kept.first_message_index == min(key.first_message_index for key in candidates)


@given(METADATA, METADATA)
def test_of_two_that_differ_one_is_better(one: KeyMetadata, other: KeyMetadata) -> None:
    assert is_better(one, other) + is_better(other, one) == (one != other)
