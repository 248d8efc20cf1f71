"""What full-text search looks for: the terms of a text, the same for every database.

A term is a word without its case. Scripts that put no spaces between words have no words that a rule could find: of
them single characters and pairs are terms.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.relations import REPLACE

MAX_CHARACTERS: Final = 20_000
"""What is indexed of a text; what comes after is not found."""

MAX_TERM_LENGTH: Final = 64
"""Longer words are cut off, in texts and in questions."""

MAX_QUERY_TERMS: Final = 30
"""What is asked for; what comes after is ignored."""

_ASCII_WORD: Final = re.compile("[a-z0-9]+")

_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)

KEYS: Final = {
    "content.body": "m.room.message",
    "content.name": "m.room.name",
    "content.topic": "m.room.topic",
}
"""What can be searched: the keys that clients name, and the type of event that each is of."""


class Query(msgspec.Struct, frozen=True):
    """What is looked for: all of `terms` must be in a text. `words` are what clients may highlight."""

    terms: tuple[str, ...]
    words: tuple[str, ...]


def parse_query(text: str) -> Query:
    """What a client's search term asks for; no terms at all if it has neither letters nor digits."""
    words = tuple(dict.fromkeys(_words(text[:MAX_CHARACTERS])))[:MAX_QUERY_TERMS]
    terms: dict[str, None] = {}
    for word in words:
        for run in _runs(word):
            if is_unspaced(run[0]) and len(run) > 1:
                terms |= dict.fromkeys(_pairs(run))
            else:
                terms[run] = None
    return Query(tuple(terms)[:MAX_QUERY_TERMS], words)


def terms_of(text: str) -> list[str]:
    """The terms of a text in their order, as often as they occur."""
    found: list[str] = []
    for word in _words(text[:MAX_CHARACTERS]):
        for run in _runs(word):
            if is_unspaced(run[0]):
                found += run
                found += _pairs(run)
            else:
                found.append(run)
    return found


def text_of(event_type: str, content: JsonObject) -> str | None:
    """What can be searched of an event, of a replacement what it makes of the other event: `None` for nothing.

    Spec: client-server API, "Server Side Search", `room_events`.
    """
    if event_type == "m.room.message":
        relation = content.get("m.relates_to")
        if isinstance(relation, dict) and relation.get("rel_type") == REPLACE:
            replacement = content.get("m.new_content")
            return _string(replacement.get("body")) if isinstance(replacement, dict) else None
        return _string(content.get("body"))
    if event_type == "m.room.name":
        return _string(content.get("name"))
    if event_type == "m.room.topic":
        parts = (_string(content.get("topic")), _plain_topic(content))
        return "\n".join(dict.fromkeys(part for part in parts if part)) or None
    return None


def rank(terms: Sequence[str], query: Query) -> float:
    """How well a text with these terms answers the query: how much of it is what was asked for, from 0 to 1."""
    if not terms:
        return 0.0
    wanted = set(query.terms)
    hits = sum(term in wanted for term in terms)
    return hits / (hits + math.sqrt(len(terms)))


def _plain_topic(content: JsonObject) -> str | None:
    """The body of the representation as plain text, which is the one without a type, or with this one."""
    block = content.get("m.topic")
    texts = block.get("m.text") if isinstance(block, dict) else None
    for each in texts if isinstance(texts, list) else ():
        if isinstance(each, dict) and each.get("mimetype", "text/plain") == "text/plain":
            return _string(each.get("body"))
    return None


def _string(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _words(text: str) -> Iterator[str]:
    """Letters, digits and marks that stand together, without their case."""
    if text.isascii():
        # The same, at a tenth of the cost.
        yield from _ASCII_WORD.findall(text.lower())
        return
    folded = unicodedata.normalize("NFKC", text).casefold()
    word: list[str] = []
    for character in folded:
        if character.isalnum() or unicodedata.category(character)[0] == "M":
            word.append(character)
        elif word:
            yield "".join(word)
            word.clear()
    if word:
        yield "".join(word)


def _runs(word: str) -> Iterator[str]:
    """A word, divided where a script without spaces begins and ends."""
    if word.isascii():
        yield word[:MAX_TERM_LENGTH]
        return
    start = 0
    for at in range(1, len(word) + 1):
        if at == len(word) or is_unspaced(word[at]) != is_unspaced(word[start]):
            run = word[start:at]
            yield run if is_unspaced(run[0]) else run[:MAX_TERM_LENGTH]
            start = at


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def is_unspaced(character: str) -> bool:
    """Whether the character is of a script that puts no spaces between words."""
    code = ord(character)
    return code >= 0x0E00 and any(first <= code <= last for first, last in _UNSPACED)
