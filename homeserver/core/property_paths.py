r"""Dot-separated property paths, such as `content.m\.relates_to.rel_type`.

Spec: appendices, "Dot-separated property paths".
"""

import re
from typing import Final, TypeAlias

from homeserver.core.json import JsonValue

PropertyPath: TypeAlias = tuple[str, ...]
"""The names of a property and of the objects around it, outermost first."""


class Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""What stands for a property that is absent: JSON's null is a value."""

# A name goes up to a dot that no backslash escapes. A backslash that escapes nothing stands for itself, and
# so does one at the end.
_NAME = re.compile(r"(?:[^.\\]|\\[.\\]|\\)*")
_ESCAPE = re.compile(r"\\([.\\])")


def parse_path(text: str) -> PropertyPath:
    r"""The names in a path; `\.` and `\\` stand for a dot and a backslash, any other backslash for itself."""
    names: list[str] = []
    at = -1
    while at < len(text):
        name = _NAME.match(text, at + 1)
        if name is None:  # The pattern matches the empty string.
            raise AssertionError
        names.append(_ESCAPE.sub(r"\1", name[0]) if "\\" in name[0] else name[0])
        at = name.end()
    return tuple(names)


def property_at(value: JsonValue, path: PropertyPath) -> JsonValue | Missing:
    """The property that a path leads to; MISSING if something on the way is no object or lacks the name."""
    found: JsonValue | Missing = value
    for name in path:
        if not isinstance(found, dict):
            return MISSING
        found = found.get(name, MISSING)
    return found
