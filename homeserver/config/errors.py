"""What is wrong with the configuration, in one line that says what to do about it."""

from pathlib import Path

import attrs

LONGEST_VALUE = 80


@attrs.frozen(slots=False)
class ConfigError(Exception):
    """The server cannot run as configured; `str()` is one line for the operator, and no bug is involved.

    `key` is the path in the file (`listeners[0].port`) or the name of a command line option; `value` is what
    stands there as it may be shown (a secret is never passed in), or None if nothing does; `remedy` says what
    is expected, or what to do.
    """

    key: str
    value: object
    remedy: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.key}: {self.remedy}"
        return f"{self.key}: {shown(self.value)}: {self.remedy}"


def shown(value: object) -> str:
    """`value` on one line, shortened if it is no path, with what would break a line or a terminal escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"  # as YAML writes it
    given = str(value) if isinstance(value, Path) else value
    text = given if isinstance(given, str) and given and given.isprintable() else ascii(given)
    if isinstance(value, Path) or len(text) <= LONGEST_VALUE:
        # Of a path all is needed to find the file.
        return text
    return text[: LONGEST_VALUE - 1] + "…"
