"""Which state a client wants: single rules, and several together."""

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.sliding_sync.required_state import RequiredState, StateMatcher, combine

NAME = ("m.room.name", "")
MEMBER = ("m.room.member", "@a:x")

PARTS = st.sampled_from([None, "m.room.member", "m.room.name", "@a:x", ""])
ELEMENTS = st.lists(st.tuples(PARTS, PARTS), max_size=3).map(tuple)
RULES = st.builds(RequiredState, ELEMENTS, ELEMENTS, st.booleans())
KEYS = st.tuples(st.sampled_from(["m.room.member", "m.room.name", "x"]), st.sampled_from(["@a:x", "", "y"]))


def matcher(*rules: RequiredState) -> StateMatcher:
    return StateMatcher.of(rules)


def test_members_that_are_loaded_lazily_are_matched_by_name_only() -> None:
    for include in ((None, None), ("m.room.member", None)):
        lazily = matcher(RequiredState((include,), (), lazy_members=True))
        assert not lazily.matches(MEMBER)
        assert lazily.lazy_members
    assert matcher(RequiredState((MEMBER,), (), lazy_members=True)).matches(MEMBER)
    assert matcher(RequiredState(((None, "@a:x"),), (), lazy_members=True)).matches(MEMBER)


def test_who_wants_all_members_needs_none_to_be_added() -> None:
    lazy = RequiredState(((None, None),), (), lazy_members=True)
    assert not matcher(lazy, RequiredState((("m.room.member", None),))).lazy_members
    assert matcher(lazy, RequiredState((("m.room.member", None),), (MEMBER,))).lazy_members
    assert matcher(lazy, RequiredState((("m.room.name", None),))).lazy_members


@given(rules=st.lists(RULES, max_size=4), key=KEYS)
def test_several_rules_want_what_any_of_them_wants(rules: list[RequiredState], key: tuple[str, str]) -> None:
    together = matcher(*rules)
    assert together.matches(key) == any(matcher(rule).matches(key) for rule in rules)
    assert all(together.matches(each) for each in together.keys)
    if together.types is not None and together.matches(key):
        assert key in together.keys or key[0] in together.types


@given(rules=st.lists(RULES, max_size=4))
def test_combining_depends_on_nothing_but_the_rules(rules: list[RequiredState]) -> None:
    parts = [(rule,) for rule in rules]
    assert combine(parts) == combine(parts[::-1]) == combine([*parts, *parts])
    assert set(combine(parts)) == set(rules)
