"""Third-party identifiers: e-mail addresses and telephone numbers. Spec: appendices, "3PID Types"."""

import re
from typing import Final

import msgspec

from homeserver.core.errors import InvalidParam

EMAIL: Final = "email"
MSISDN: Final = "msisdn"

LONGEST_EMAIL: Final = 254
"""RFC 5321: a path has at most 256 characters, the angle brackets among them."""

LONGEST_LOCAL_PART: Final = 64

# The local part is a dot-atom, and the domain a host name: whatever else RFC 5322 permits is not in use, and is what
# tricks are made of (quotes, comments, line ends).
_EMAIL: Final = re.compile(
    r"[0-9a-z!#$%&'*+/=?^_`{|}~-]+(?:\.[0-9a-z!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=[^@]{1,253}\Z)(?:[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?\.)+[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?"
)

_OPAQUE: Final = re.compile(r"[0-9A-Za-z.=_-]{1,255}")


class Threepid(msgspec.Struct, frozen=True):
    """A third-party identifier in its canonical form."""

    medium: str
    address: str


def email_of(text: str) -> Threepid:
    """The identifier that an e-mail address as somebody has typed it stands for.

    Addresses beyond ASCII are refused: which of them are the same is for each mail server to say.
    Errors: InvalidParam.
    """
    address = text.strip().casefold()
    local_part, _, _ = address.rpartition("@")
    if (
        len(text) > LONGEST_EMAIL
        or len(local_part) > LONGEST_LOCAL_PART
        or not text.isascii()
        or not _EMAIL.fullmatch(address)
    ):
        raise InvalidParam("That is not an e-mail address")
    return Threepid(EMAIL, address)


def canonical(medium: str, address: str) -> Threepid:
    """An identifier of any medium as it is stored. Errors: InvalidParam."""
    if medium == EMAIL:
        return email_of(address)
    if medium == MSISDN:
        digits = address.removeprefix("+")
        if not re.fullmatch(r"[0-9]{3,15}", digits):
            raise InvalidParam("That is not a telephone number with its country code")
        return Threepid(MSISDN, digits)
    raise InvalidParam("The medium of a third-party identifier is `email` or `msisdn`")


def check_opaque(text: str, name: str) -> str:
    """A `client_secret` or `sid` as the specification wants it. Errors: InvalidParam."""
    if not _OPAQUE.fullmatch(text):
        raise InvalidParam(f"`{name}` must have 1 to 255 of the characters 0-9, a-z, A-Z, `.`, `=`, `_`, `-`")
    return text
