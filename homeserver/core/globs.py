"""Glob-style patterns, matched in time linear in the text. Spec: appendices, "Glob-style matching".

`*` matches any number of characters, `?` one. Patterns are not turned into regular expressions: between two
asterisks a pattern is of fixed length, so it is enough to take the first place where each such stretch fits.
A stretch with question marks, and words, are looked for in sets of positions, which are integers: bit i
stands for the place before character i.
"""

import re
from collections.abc import Iterable
from typing import Self

import msgspec

_WORD_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_SEPARATORS = bytes(0x30 if byte in _WORD_CHARACTERS else 0x31 for byte in range(256))
_ASTERISKS = re.compile(r"\*+")
_NONE = bytes([0x30]) * 256


def fold(text: str) -> str:
    """The text in which letters that differ only by case are the same; as many characters as before."""
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(map(_fold_character, text))


def _fold_character(character: str) -> str:
    """As `fold`, where the full folding of some character of the text is longer than one."""
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


class Subject:
    """A text that patterns are matched against.

    What matching derives from it is derived once, for all patterns. Case is ignored unless `match_case`,
    in which case the patterns must be made so too.
    """

    __slots__ = ("_boundaries", "_original", "_positions", "text")

    def __init__(self, text: str, *, match_case: bool = False) -> None:
        self.text = text if match_case else fold(text)
        self._original = text
        self._positions: dict[str, int] = {}
        self._boundaries: int | None = None

    def positions(self, character: str) -> int:
        """The set of positions before each occurrence of a (folded) character."""
        found = self._positions.get(character)
        if found is None:
            found = self._positions[character] = self._find_positions(character)
        return found

    def _find_positions(self, character: str) -> int:
        if character.isascii() and character != "?":
            # Every character becomes one byte, and those beyond ASCII a question mark.
            marks = self.text.encode("ascii", "replace")
            code = ord(character)
            return _bits(marks.translate(_NONE[:code] + b"1" + _NONE[code + 1 :]))
        row = bytearray(b"0") * len(self.text)
        at = self.text.find(character)
        while at >= 0:
            row[at] = 0x31
            at = self.text.find(character, at + 1)
        return _bits(row)

    @property
    def boundaries(self) -> int:
        """The set of positions at a word boundary.

        These are both ends of the text, and before and after each character that is not in A-Z, a-z, 0-9,
        `_`.
        """
        if self._boundaries is None:
            separators = _bits(self._original.encode("ascii", "replace").translate(_SEPARATORS))
            self._boundaries = separators | separators << 1 | 1 | 1 << len(self.text)
        return self._boundaries


def _bits(row: bytes | bytearray) -> int:
    """The set of the places where a row of the digits 0 and 1 has a 1."""
    return int(row[::-1], 2) if row else 0


def _lowest(positions: int) -> int:
    """The first of a set of positions, which is not empty."""
    return (positions & -positions).bit_length() - 1


class _Stretch(msgspec.Struct, frozen=True):
    """What stands between two asterisks.

    `runs` are its literal characters, each run with its offset; `literal` is all of it where it has no
    question marks.
    """

    length: int
    runs: tuple[tuple[int, str], ...]
    literal: str | None

    @classmethod
    def of(cls, text: str, *, question_marks: bool) -> Self:
        if not question_marks or "?" not in text:
            return cls(len(text), ((0, text),), text)
        runs: list[tuple[int, str]] = []
        at = 0
        for run in text.split("?"):
            if run:
                runs.append((at, run))
            at += len(run) + 1
        return cls(len(text), tuple(runs), None)

    def fits(self, text: str, at: int) -> bool:
        """Whether it matches the characters from `at` on; the text must be long enough."""
        return all(text.startswith(run, at + offset) for offset, run in self.runs)

    def occurrences(self, subject: Subject) -> int:
        """The set of positions where it fits."""
        last = len(subject.text) - self.length
        if last < 0:
            return 0
        found = (1 << (last + 1)) - 1
        for offset, run in self.runs:
            for index, character in enumerate(run, offset):
                found &= subject.positions(character) >> index
                if not found:
                    return 0
        return found

    def find(self, subject: Subject, start: int) -> int:
        """The first position from `start` on where it fits, -1 if there is none."""
        if self.literal is not None:
            return subject.text.find(self.literal, start)
        found = self.occurrences(subject) >> start
        return start + _lowest(found) if found else -1


class Glob:
    """A compiled pattern.

    With `match_case` it is to be matched against subjects made so. With `question_marks=False` only the
    asterisk is special, with `literal` nothing is.
    """

    __slots__ = ("_first", "_last", "_length", "_middles", "_runs")

    def __init__(
        self, pattern: str, *, match_case: bool = False, question_marks: bool = True, literal: bool = False
    ) -> None:
        if not match_case:
            pattern = fold(pattern)
        texts = [pattern] if literal else _ASTERISKS.split(pattern)
        first, *others = (_Stretch.of(text, question_marks=question_marks and not literal) for text in texts)
        self._first = first
        self._middles = tuple(stretch for stretch in others[:-1] if stretch.length)
        self._last = others[-1] if others else None
        stretches = [first, *others]
        self._length = sum(stretch.length for stretch in stretches)
        self._runs = tuple({run for stretch in stretches for _, run in stretch.runs if run})

    def matches(self, subject: Subject) -> bool:
        """Whether the whole text matches."""
        text = subject.text
        size = len(text)
        if self._length > size:
            return False
        if self._last is None:
            return self._length == size and self._first.fits(text, 0)
        end = size - self._last.length
        if not (self._first.fits(text, 0) and self._last.fits(text, end)):
            return False
        at = self._first.length
        for middle in self._middles:
            found = middle.find(subject, at)
            if found < 0:
                return False
            at = found + middle.length
        return at <= end

    def matches_words(self, subject: Subject) -> bool:
        """Whether some part of the text matches that starts and ends at a word boundary.

        Spec: client-server API, "Push Rules", `event_match`.
        """
        text = subject.text
        # Nearly all patterns fail here.
        for run in self._runs:
            if run not in text:
                return False
        boundaries = subject.boundaries
        starts = self._first.occurrences(subject) & boundaries
        if self._last is None:
            return starts & (boundaries >> self._length) != 0
        if not starts:
            return False
        at = _lowest(starts) + self._first.length
        for middle in self._middles:
            found = middle.find(subject, at)
            if found < 0:
                return False
            at = found + middle.length
        ends = self._last.occurrences(subject) & (boundaries >> self._last.length)
        return ends >> at != 0


class GlobSet(msgspec.Struct, frozen=True):
    """Patterns of which one must match the whole text.

    Plain texts, and those with one asterisk at an end, cost next to nothing, however many there are.
    """

    match_case: bool
    texts: frozenset[str]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    globs: tuple[Glob, ...]

    @classmethod
    def of(cls, patterns: Iterable[str], *, match_case: bool = False, question_marks: bool = True) -> Self:
        """Compile the patterns; what is special in them is as in `Glob`."""
        texts: set[str] = set()
        prefixes: set[str] = set()
        suffixes: set[str] = set()
        others: set[str] = set()
        for pattern in patterns:
            folded = pattern if match_case else fold(pattern)
            if question_marks and "?" in folded:
                others.add(folded)
            elif "*" not in folded:
                texts.add(folded)
            elif "*" not in (rest := folded[:-1]) and folded[-1] == "*":
                prefixes.add(rest)
            elif "*" not in (rest := folded[1:]):
                suffixes.add(rest)
            else:
                others.add(folded)
        globs = tuple(
            Glob(pattern, match_case=match_case, question_marks=question_marks) for pattern in sorted(others)
        )
        return cls(match_case, frozenset(texts), tuple(sorted(prefixes)), tuple(sorted(suffixes)), globs)

    def matches(self, text: str) -> bool:
        """Whether any of the patterns matches `text`."""
        folded = text if self.match_case else fold(text)
        if folded in self.texts or folded.startswith(self.prefixes) or folded.endswith(self.suffixes):
            return True
        if not self.globs:
            return False
        subject = Subject(text, match_case=self.match_case)
        return any(glob.matches(subject) for glob in self.globs)
