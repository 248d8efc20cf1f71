"""Who is found by what, in the user directory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import UserID
from homeserver.core.person_names import (
    MAX_CHARACTERS,
    MAX_TERMS,
    Closeness,
    folded,
    parse_name_query,
    terms_of,
)

ALICE = UserID("@alice.w:example.org")


def closeness(name: str | None, query: str, user_id: UserID = ALICE) -> Closeness | None:
    return parse_name_query(query).closeness(user_id, name)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Zoë Müller", "zoe"),
        ("Zoe Muller", "Müll"),
        ("Łukasz Żółć", "lukasz zolc"),
        ("Søren Ærø", "soren aero"),
        ("Straße", "STRASSE"),
        ("Алёна Йовович", "алена"),
        ("АЛЕНА", "Алё"),
        ("Ολυμπία", "ολυμπια"),
        ("أحمد", "احمد"),
        ("مُحَمَّد", "محمد"),
        ("شָלוֹם", "שלום"),
        ("山田太郎", "太郎"),
        ("山田太郎", "山"),
        ("ヤマダ", "ヤマ"),
        ("김철수", "철수"),
        ("สมชาย", "ชาย"),
        ("नरेन्द्र कुमार", "कुमा"),
        ("Bob 山田", "山田 b"),
        ("Ａｌｉｃｅ", "alice"),
        ("İstanbul", "istanbul"),
        ("a\N{ZERO WIDTH SPACE}b\N{RIGHT-TO-LEFT MARK}c", "ABC"),
        ("\N{FOX FACE}", "\N{FOX FACE}"),
        ("Jean-Luc O'Neill", "neil jean"),
        (None, "ali"),
        (None, "alice.w"),
        (None, "W"),
        (None, "@ALICE.W:exam"),
        (None, "alice.w:example.org"),
        (None, "@al"),
    ],
)
def test_found(name: str | None, query: str) -> None:
    if name == "شָלוֹם":
        name = "שָׁלוֹם"
    assert closeness(name, query) is not None


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Zoe", "oe"),
        ("Zoe", "zoe x"),
        ("太郎山田", "郎太"),
        ("Zoe", ""),
        (None, ""),
        (None, "?!"),
        ("?", "!"),
        (None, "example"),
        (None, "@lice"),
        (None, "@alice.w:example.com"),
        (None, "alice.w:example.orga"),
        ("\N{FOX FACE}", "\N{PANDA FACE}"),
    ],
)
def test_not_found(name: str | None, query: str) -> None:
    assert closeness(name, query) is None


def test_the_nearest_comes_first() -> None:
    answers = [
        closeness("x", "alice.w"),
        closeness("Alice W", "alice w", UserID("@x:example.org")),
        closeness("Alice W. Smith", "alice w", UserID("@x:example.org")),
        closeness("W. Alice", "alice w", UserID("@x:example.org")),
        closeness("Waldo Alicent", "alice w", UserID("@x:example.org")),
    ]
    assert answers == sorted(Closeness)
    # A name that looks like another's user ID does not precede that.
    assert closeness(ALICE, ALICE, UserID("@mallory:example.org")) == Closeness.SAME_NAME
    assert closeness(ALICE, ALICE) == Closeness.SAME_ID
    assert closeness(None, "@alice") == Closeness.WHOLE_WORDS


def test_lengths() -> None:
    assert len(folded("\ufdfa" * MAX_CHARACTERS)) <= MAX_CHARACTERS
    assert len(terms_of(ALICE, [" ".join(f"w{n}" for n in range(60)) for _ in range(9)])) <= MAX_TERMS
    assert all(len(term) <= 64 for term in terms_of(ALICE, ["x" * 500]))


@given(st.text(max_size=40))
def test_everybody_is_found_by_the_whole_name(name: str) -> None:
    query = parse_name_query(name)
    assert folded(folded(name)) == folded(name)
    assert "\0" not in query.name
    if query.name:
        assert query.closeness(ALICE, name) is not None
    # What the databases are asked for is what the terms have.
    terms = set(terms_of(ALICE, [name]))
    assert terms.issuperset(query.terms)
    assert terms.issuperset(query.begun)
    assert not any(set(term) & set(" '\"\\:*&|!()") for term in terms)
