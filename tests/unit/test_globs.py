"""Appendices, "Glob-style matching", and the word boundaries of push rules."""

import functools
import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.globs import Glob, GlobSet, Subject, fold

WORD = frozenset(string.ascii_letters + string.digits + "_")

PATTERNS = st.text("ab*?_ -ä", max_size=12)
TEXTS = st.text("abAB_ -äÄ?*", max_size=24)


def slowly_matches(pattern: str, text: str, *, question_marks: bool = True) -> bool:
    """The definition, spelled out: every way to share out the text among the asterisks is tried."""

    @functools.cache
    def rest_matches(p: int, t: int) -> bool:
        if p == len(pattern):
            return t == len(text)
        if pattern[p] == "*":
            return any(rest_matches(p + 1, later) for later in range(t, len(text) + 1))
        if t == len(text):
            return False
        fits = pattern[p] == text[t] or (question_marks and pattern[p] == "?")
        return fits and rest_matches(p + 1, t + 1)

    return rest_matches(0, 0)


def slowly_matches_words(pattern: str, text: str) -> bool:
    """Every part of the text that starts and ends at a boundary is tried."""
    size = len(text)
    places = [
        place
        for place in range(size + 1)
        if place in (0, size) or text[place - 1] not in WORD or text[place] not in WORD
    ]
    return any(
        slowly_matches(pattern.lower(), text[start:end].lower())
        for start in places
        for end in places
        if start <= end
    )


def words(pattern: str, text: str) -> bool:
    return Glob(pattern).matches_words(Subject(text))


def whole(pattern: str, text: str) -> bool:
    return Glob(pattern).matches(Subject(text))


@given(PATTERNS, TEXTS)
def test_whole_texts_match_as_the_definition_says(pattern: str, text: str) -> None:
    assert whole(pattern, text) == slowly_matches(pattern.lower(), text.lower())


@given(PATTERNS, TEXTS)
def test_words_match_as_the_definition_says(pattern: str, text: str) -> None:
    assert words(pattern, text) == slowly_matches_words(pattern, text)


@given(st.text("ab*?", max_size=10), st.text("ab", max_size=80))
def test_long_monotonous_texts_match_as_the_definition_says(pattern: str, text: str) -> None:
    assert whole(pattern, text) == slowly_matches(pattern, text)
    # Such a text is one word; only the empty pattern matches less than it: at its ends.
    assert words(pattern, text) == (slowly_matches(pattern, text) or not pattern)


@given(PATTERNS, TEXTS)
def test_case_matters_where_it_is_to_be_matched(pattern: str, text: str) -> None:
    glob = Glob(pattern, match_case=True)
    assert glob.matches(Subject(text, match_case=True)) == slowly_matches(pattern, text)


@given(PATTERNS, TEXTS)
def test_question_marks_are_themselves_where_they_are_not_special(pattern: str, text: str) -> None:
    glob = Glob(pattern, match_case=True, question_marks=False)
    expected = slowly_matches(pattern, text, question_marks=False)
    assert glob.matches(Subject(text, match_case=True)) == expected


@given(st.text(max_size=20))
def test_a_literal_matches_itself_and_nothing_is_special_in_it(text: str) -> None:
    glob = Glob(text, literal=True)
    assert glob.matches(Subject(text))
    assert glob.matches(Subject(text + "x")) is False
    assert glob.matches_words(Subject(f" {text} "))


@given(st.text(max_size=30))
def test_an_asterisk_matches_everything(text: str) -> None:
    assert whole("*", text)
    assert words("*", text)
    assert whole("**", text)


@given(st.text(max_size=30))
def test_question_marks_count_characters(text: str) -> None:
    assert whole("?" * len(text), text)
    assert not whole("?" * (len(text) + 1), text)
    assert whole("?" * len(text) + "*", text)


@given(st.text(max_size=50))
def test_folding_keeps_the_number_of_characters_and_is_done_once(text: str) -> None:
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_folding_goes_character_by_character(one: str, other: str) -> None:
    assert fold(one + other) == fold(one) + fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("HELLO", "hello"), ("ÄÖÜ", "äöü"), ("ΟΔΟΣ", "οδος"), ("STRAẞE", "straße"), ("И", "и")]
)
def test_letters_of_all_scripts_fold(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        # The examples of `event_match`.
        ("lunc?*", "Lunch plans", True),
        ("lunc?*", "LUNCH", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("", "", True),
        ("", "a", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("\\w", "w", False),
        ("a\nb", "a\nb", True),
        ("a?b", "a\nb", True),
        ("a*b", "a\n\nb", True),
        ("a", "a\n", False),
        ("ab*ba", "aba", False),
        ("*ab?ab*", "xabab abxab", True),
    ],
)
def test_whole_texts(pattern: str, text: str, expected: bool) -> None:
    assert whole(pattern, text) is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        # The examples of `event_match` with `content.body`.
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("ex*ple", "An examples", False),
        ("cake", "The cake is a lie", True),
        ("cake", "cakes", False),
        ("cake", "pancake", False),
        ("cake", "CAKE!", True),
        ("cake", "cake_shop", False),
        ("cake", "cake2", False),
        ("cake", "pancake cake", True),
        ("cake*lie", "cake is no lie", True),
        ("cake*lie", "cake is no lies", False),
        ("cake*lie", "lie cake", False),
        # Only ASCII letters make words.
        ("test", "ütest", True),
        ("test", "testü", True),
        # What starts or ends with a separator has its boundary there.
        ("c++", "I like c++, too", True),
        ("c++", "c++11", True),
        ("@room", "hello@room", True),
        ("-", "a-b", True),
        ("?", "a", True),
        ("?", "ab", False),
        ("*", "", True),
    ],
)
def test_words(pattern: str, text: str, expected: bool) -> None:
    assert words(pattern, text) is expected


NASTY_TEXTS = [
    "a" * 100_000,
    "ab" * 50_000,
    ("a" * 254 + "b") * 400,
    "a " * 50_000,
    "ä" * 100_000,
    "äa" * 50_000,
    "\U0001f600" * 100_000,
    "?*" * 50_000,
]
NASTY_PATTERNS = [
    "****a",
    "*" * 255,
    "*a" * 127,
    "a*" * 127 + "b",
    "a?" * 127 + "b",
    "?a" * 60 + "*" + "a?b" * 40,
    "?" * 255,
    "*?" * 127,
    "a" * 254 + "b",
    "a" * 127 + "?" + "a" * 126 + "b",
    "ä?" * 100 + "x",
    "*\U0001f600?*" * 60,
]


@pytest.mark.parametrize("pattern", NASTY_PATTERNS)
def test_no_pattern_takes_long_on_any_text(pattern: str) -> None:
    """CVE-2021-29471: a backtracking matcher would not finish the first of these in a lifetime."""
    glob = Glob(pattern)
    subjects = [Subject(text) for text in NASTY_TEXTS]
    started = time.perf_counter()
    for subject in subjects:
        glob.matches(subject)
        glob.matches_words(subject)
    # Measured: 30 ms for the slowest, all texts together.
    assert time.perf_counter() - started < 5


def test_a_text_prepared_for_one_pattern_serves_all() -> None:
    subject = Subject("An example of a tea time")
    assert Glob("t?a").matches_words(subject)
    assert Glob("t?me").matches_words(subject)
    assert not Glob("ti?").matches_words(subject)


SETS = st.lists(st.text("ab*?.", max_size=6), max_size=6)


@given(SETS, st.text("abAB.?", max_size=8), st.booleans(), st.booleans())
def test_a_set_matches_if_one_of_its_patterns_does(
    patterns: list[str], text: str, match_case: bool, question_marks: bool
) -> None:
    compiled = GlobSet.of(patterns, match_case=match_case, question_marks=question_marks)
    subject = Subject(text, match_case=match_case)
    expected = any(
        Glob(pattern, match_case=match_case, question_marks=question_marks).matches(subject)
        for pattern in patterns
    )
    assert compiled.matches(text) is expected


def test_large_sets_are_cheap() -> None:
    patterns = [f"*.host{number}.example" for number in range(5_000)]
    patterns += [f"host{number}.example" for number in range(5_000)]
    compiled = GlobSet.of(patterns)
    assert compiled.matches("a.HOST4999.example")
    assert compiled.matches("host17.example")
    assert not compiled.matches("host5000.example")
    assert not compiled.globs


def test_the_reference_agrees_with_regular_expressions_on_simple_patterns() -> None:
    for pattern, text in [("a*b?", "axxbc"), ("a*b?", "ab"), ("?", ""), ("*x*", "axb")]:
        regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        assert slowly_matches(pattern, text) is (re.fullmatch(regex, text) is not None)
