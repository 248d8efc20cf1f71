"""What the user directory looks for: the terms of display names and user IDs, the same for every database.

Case, accents and vowel points do not matter. A word is found by its beginning. Scripts that put no spaces between
words, and Korean, where a family name precedes a given name without one, are found by characters and pairs.
"""

import unicodedata
from collections.abc import Collection, Iterator
from enum import IntEnum
from typing import Final

import msgspec

from homeserver.core.identifiers import UserID, localpart_of
from homeserver.core.search_terms import is_unspaced

MAX_CHARACTERS: Final = 256
"""What counts of a name, and of what is looked for."""

MAX_TERMS: Final = 100
MAX_TERM_LENGTH: Final = 64

MAX_QUERY_TERMS: Final = 20
"""What is asked for; what comes after is ignored."""

_POINTS: Final = frozenset({*range(10, 36), *range(202, 241)})
"""Unicode's classes of marks that may be left out: points of Hebrew and Arabic, and accents."""

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs"})

_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
    # The Arabic line that only makes words longer.
    | {"\N{ARABIC TATWEEL}": ""}
)
"""Letters whose accents Unicode counts as a part of them."""

_HANGUL: Final = (0xAC00, 0xD7A3)


class Closeness(IntEnum):
    """How well a user answers a question, best first."""

    SAME_ID = 0
    SAME_NAME = 1
    NAME_BEGINS = 2
    WHOLE_WORDS = 3
    WORDS_BEGIN = 4


class NameQuery(msgspec.Struct, frozen=True):
    """Who is looked for: users with all of the terms in their names, `begun` being the beginnings of such.

    `name` is all that was written, `user_id` the same as a user ID or its beginning. Unless `is_user_id`, what was
    written may be the localpart of a user ID.
    """

    name: str
    user_id: str
    is_user_id: bool
    terms: tuple[str, ...]
    begun: tuple[str, ...]

    @property
    def user_ids(self) -> tuple[str, str]:
        """The range of user IDs without case, the end not in it, that are what was written."""
        if self.is_user_id:
            return self.user_id, self.user_id + "\U0010ffff"
        return f"{self.user_id}:", f"{self.user_id};"

    def fits(self, folded_id: str, folded_name: str | None, terms: Collection[str]) -> bool:
        """Whether a user with that user ID and name, both without case, and with these terms may answer it."""
        low, high = self.user_ids
        if low <= folded_id < high or (self.name and folded_name == self.name):
            return True
        if not (self.terms or self.begun):
            return False
        return all(term in terms for term in self.terms) and self._are_begun(terms)

    def closeness(self, user_id: UserID, name: str | None) -> Closeness | None:
        """How well a user with that name answers it; `None` if not at all."""
        low, high = self.user_ids
        folded_id, folded_name = folded(user_id), folded(name or "")
        has_id = low <= folded_id < high
        if has_id and (folded_id == self.user_id or not self.is_user_id):
            return Closeness.SAME_ID
        if self.name and folded_name == self.name:
            return Closeness.SAME_NAME
        if has_id:
            return Closeness.WHOLE_WORDS
        return self._closeness_of_terms(user_id, folded_name)

    def _closeness_of_terms(self, user_id: UserID, folded_name: str) -> Closeness | None:
        terms = set(terms_of(user_id, [folded_name]))
        if not (self.terms or self.begun) or not terms.issuperset(self.terms):
            return None
        if folded_name.startswith(self.name) and self._are_begun(terms):
            return Closeness.NAME_BEGINS
        if terms.issuperset(self.begun):
            return Closeness.WHOLE_WORDS
        return Closeness.WORDS_BEGIN if self._are_begun(terms) else None

    def _are_begun(self, terms: Collection[str]) -> bool:
        return all(any(term.startswith(each) for term in terms) for each in self.begun)


def parse_name_query(text: str) -> NameQuery:
    """What a client's search term asks for."""
    name = folded(text)
    user_id = name if name.startswith("@") else f"@{name}"
    terms: dict[str, None] = {}
    begun: dict[str, None] = {}
    for run in _runs(name):
        if not _is_divided(run[0]):
            begun[run] = None
        elif len(run) == 1:
            terms[run] = None
        else:
            terms |= dict.fromkeys(_pairs(run))
    return NameQuery(
        name,
        user_id,
        ":" in name or name.startswith("@"),
        tuple(terms)[:MAX_QUERY_TERMS],
        tuple(begun)[:MAX_QUERY_TERMS],
    )


def terms_of(user_id: UserID, names: Collection[str]) -> list[str]:
    """What a user is found by: the words of the localpart and of these names, each once."""
    found: dict[str, None] = {}
    for text in (localpart_of(user_id), *names):
        for run in _runs(folded(text)):
            if _is_divided(run[0]):
                found |= dict.fromkeys((*run, *_pairs(run)))
            else:
                found[run] = None
    return list(found)[:MAX_TERMS]


def folded(text: str) -> str:
    """A name as it is compared: without case, accents, what is invisible, and spaces that are more than one."""
    text = text[:MAX_CHARACTERS]
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    text = " ".join(text.split())
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(
        each
        for each in decomposed
        if unicodedata.combining(each) not in _POINTS and unicodedata.category(each) not in _INVISIBLE
    )
    # NFKD turns one character into many, sometimes.
    return " ".join(unicodedata.normalize("NFC", bare.translate(_LETTERS)).split())[:MAX_CHARACTERS]


def _runs(name: str) -> Iterator[str]:
    """The words of a folded name, divided where a script without spaces begins and ends."""
    run = ""
    for character in name:
        is_letter = character.isalnum() or unicodedata.category(character)[0] == "M"
        if run and (not is_letter or _is_divided(character) != _is_divided(run[0])):
            yield _cut(run)
            run = ""
        if is_letter:
            run += character
    if run:
        yield _cut(run)


def _cut(run: str) -> str:
    return run if _is_divided(run[0]) else run[:MAX_TERM_LENGTH]


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _is_divided(character: str) -> bool:
    return is_unspaced(character) or _HANGUL[0] <= ord(character) <= _HANGUL[1]
