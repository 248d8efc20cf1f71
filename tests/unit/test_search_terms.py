"""What can be searched of events, and how it is divided into terms."""

import pytest

from homeserver.core.errors import InvalidParam
from homeserver.core.json import JsonObject
from homeserver.core.search_cursors import SearchCursor
from homeserver.core.search_terms import (
    MAX_CHARACTERS,
    MAX_QUERY_TERMS,
    MAX_TERM_LENGTH,
    Query,
    parse_query,
    rank,
    terms_of,
    text_of,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("a_b c-d e.f 1,5", ["a", "b", "c", "d", "e", "f", "1", "5"]),
        ("Straße ﬁne ＦＵＬＬ", ["strasse", "fine", "full"]),
        ("नमस्ते", ["नमस्ते"]),
        ("東京", ["東", "京", "東京"]),
        ("v2東京タ", ["v2", "東", "京", "タ", "東京", "京タ"]),
        ("\0 '\"\\ 😀", []),
        ("x" * 100, ["x" * MAX_TERM_LENGTH]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


def test_plain_words_are_the_same_beside_other_letters() -> None:
    text = "Hello, World_2: a.b-C\n\0x9 " + "y" * 70
    assert terms_of(f"{text} é") == [*terms_of(text), "é"]


def test_texts_and_questions_have_an_end() -> None:
    assert len(terms_of("a " * MAX_CHARACTERS)) == MAX_CHARACTERS // 2
    query = parse_query(" ".join(str(number) for number in range(100)))
    assert len(query.terms) == len(query.words) == MAX_QUERY_TERMS
    assert len(parse_query("東京" * 100 + "a").terms) == 2 + 1


def test_what_is_asked_for_is_what_is_indexed() -> None:
    assert parse_query("Tea TEA 東京都 x") == Query(("tea", "東京", "京都", "x"), ("tea", "東京都", "x"))
    assert parse_query("東").terms == ("東",)
    for text in ("Größe 10", "สวัสดี", "今日は東京で", "a" * 90):
        assert set(parse_query(text).terms) <= set(terms_of(text))


@pytest.mark.parametrize(
    ("event_type", "content", "text"),
    [
        ("m.room.message", {"body": "hello"}, "hello"),
        ("m.room.message", {"body": 1}, None),
        ("m.room.message", {}, None),
        ("m.room.message", {"body": "* x", "m.relates_to": {"rel_type": "m.replace"}}, None),
        (
            "m.room.message",
            {"body": "* x", "m.relates_to": {"rel_type": "m.replace"}, "m.new_content": {"body": "x"}},
            "x",
        ),
        (
            "m.room.message",
            {"body": "* x", "m.relates_to": {"rel_type": "m.replace"}, "m.new_content": 1},
            None,
        ),
        ("m.room.message", {"body": "x", "m.relates_to": {"rel_type": "m.thread"}}, "x"),
        ("m.room.message", {"body": "x", "m.relates_to": "m.replace"}, "x"),
        ("m.room.name", {"name": "Club"}, "Club"),
        ("m.room.topic", {"topic": "a"}, "a"),
        ("m.room.topic", {"topic": "a", "m.topic": {"m.text": [{"body": "b"}]}}, "a\nb"),
        (
            "m.room.topic",
            {
                "m.topic": {
                    "m.text": [
                        {"mimetype": "text/html", "body": "<b>"},
                        {"mimetype": "text/plain", "body": "b"},
                    ]
                }
            },
            "b",
        ),
        ("m.room.topic", {"m.topic": {"m.text": "b"}}, None),
        ("m.room.encrypted", {"body": "x"}, None),
    ],
)
def test_texts(event_type: str, content: JsonObject, text: str | None) -> None:
    assert text_of(event_type, content) == text


def test_rank_prefers_texts_that_are_about_it() -> None:
    query = parse_query("tea")
    ranks = [rank(terms_of(text), query) for text in ("tea tea", "tea", "tea for two", "no", "")]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[-2:] == [0.0, 0.0]


def test_cursors() -> None:
    for cursor in (SearchCursor(5, 0), SearchCursor(2**62, 7, "sender", "@ä:b")):
        assert SearchCursor.parse(cursor.to_token()) == cursor
    for token in ("", "x", "W10", SearchCursor(-1, 0).to_token(), SearchCursor(0, -1).to_token()):
        with pytest.raises(InvalidParam):
            SearchCursor.parse(token)
