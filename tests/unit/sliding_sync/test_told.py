"""What a client has been told, from one answer to the next."""

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.sliding_sync.required_state import RequiredState
from homeserver.core.sliding_sync.told import (
    ACCOUNT_DATA,
    DIRECT,
    LEFT,
    MOST_CHANGES,
    MOST_CONFIG_BYTES,
    MOST_UNUSED,
    TYPING,
    RoomRecord,
    Rules,
    Telling,
    Told,
)

RULES: list[Rules] = [
    (),
    (RequiredState((("m.room.name", ""),)),),
    (RequiredState((("m.room.name", ""),)), RequiredState(((None, None),), (), lazy_members=True)),
]
CHANGES = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 5), st.sampled_from(RULES), st.integers(0, 7)), max_size=20
)


def tell(told: Told, changes: list[tuple[int, int, Rules, int]]) -> Told:
    telling = Telling(told)
    for nid, upto, rules, flags in changes:
        telling.record(nid, RoomRecord(upto, telling.place_of(rules), 10, flags))
    return telling.done()


def meaning(told: Told) -> dict[int, tuple[int, Rules, int, int]]:
    return {
        nid: (each.upto, told.configs[each.config], each.limit, each.flags)
        for nid, each in told.rooms.items()
    }


@given(first=CHANGES, second=CHANGES)
def test_what_is_stored_is_what_was_told(
    first: list[tuple[int, int, Rules, int]], second: list[tuple[int, int, Rules, int]]
) -> None:
    base = tell(Told(), first).compact()
    assert meaning(Told.decode(base.encode())) == meaning(base)
    told = tell(base, second)
    assert meaning(told.compact()) == meaning(told)
    changes = told.changes_since(base)
    assert changes is not None
    assert meaning(Told.decode(base.encode()).changed(changes)) == meaning(told)


def test_nothing_changes_where_nothing_is_new() -> None:
    told = tell(Told(), [(1, 0, RULES[1], DIRECT)])
    assert tell(told, [(1, 0, RULES[1], DIRECT)]) is told
    assert tell(told, [(1, 0, RULES[1], LEFT)]) is not told
    telling = Telling(told)
    telling.extensions = 3
    extended = telling.done()
    changes = extended.changes_since(told)
    assert changes is not None
    for stored in (Told.decode(extended.encode()), told.changed(changes), extended.compact()):
        assert (stored.extensions, meaning(stored)) == (3, meaning(told))
    assert tell(extended, []).extensions == 0


def test_what_extensions_tell_of_rooms_is_part_of_their_records() -> None:
    told = tell(Told(), [(1, 0, RULES[1], DIRECT | TYPING), (2, 7, RULES[2], TYPING)])
    telling = Telling(told)
    telling.record(1, RoomRecord(0, telling.place_of(RULES[1]), 10, DIRECT))
    telling.extend(1, TYPING)
    telling.extend(2, TYPING)
    telling.extend(3, TYPING)
    assert telling.done() is told
    telling.extend(1, ACCOUNT_DATA)
    telling.extend(2, 0)
    extended = telling.done()
    assert {nid: record.flags for nid, record in extended.rooms.items()} == {1: DIRECT | ACCOUNT_DATA, 2: 0}
    assert (extended.rooms[2].upto, extended.configs) == (7, told.configs)


def test_many_changes_are_written_as_a_whole() -> None:
    base = tell(Told(), [(nid, 0, RULES[0], 0) for nid in range(1, 400)])
    few = tell(base, [(nid, 5, RULES[0], 0) for nid in range(1, 90)])
    many = tell(base, [(nid, 5, RULES[0], 0) for nid in range(1, 200)])
    assert few.changes_since(base) is not None
    assert many.changes_since(base) is None
    small = tell(Told(), [])
    assert tell(small, [(nid, 0, RULES[0], 0) for nid in range(1, MOST_CHANGES + 1)]).changes_since(small)


def test_configurations_that_are_not_used_any_more_do_not_pile_up() -> None:
    rules: list[Rules] = [(RequiredState(((f"org.example.{number}", ""),)),) for number in range(10)]
    base = told = tell(Told(), [(nid, 0, rules[0], 0) for nid in (1, 2)])
    for each in rules:
        told = tell(told, [(1, 0, each, 0)])
        assert meaning(told) == {1: (0, each, 10, 0), 2: (0, rules[0], 10, 0)}
        assert len(told.configs) <= 2 + MOST_UNUSED
    changes = told.changes_since(base)
    assert changes is not None
    assert meaning(base.changed(changes)) == meaning(told)
    # Those of the last complete list, too, go when it is time.
    for each in rules:
        told = tell(told, [(nid, 0, each, 0) for nid in (1, 2)])
    assert told.changes_since(base) is None
    assert len(told.configs) <= 1 + MOST_UNUSED


def test_configurations_are_only_so_long() -> None:
    def wanted(number: int) -> Rules:
        return (RequiredState(((f"org.example.{number}".ljust(MOST_CONFIG_BYTES // 4, "x"), ""),)),)

    changes = [(number, 0, wanted(number), 0) for number in range(4)]
    assert not tell(Told(), changes[:3]).is_too_long
    assert tell(Told(), changes).is_too_long


def test_records_are_small() -> None:
    """A room in a window takes some ten bytes, whatever the rules."""
    rooms = [(nid, 0, RULES[2], 0) for nid in range(2**40, 2**40 + 1_000)]
    assert len(tell(Told(), rooms).encode()) < 17_000
