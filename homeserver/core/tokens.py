"""Stream tokens: the positions that clients carry between requests.

A token is `s<position>`. Positions of backfilled history are negative. Clients treat tokens as opaque; this
server reads only what it could have written, so that a token has one spelling.

The tokens of sliding sync are `s<position>_<connection>_<step>`, and are good for a position, too.
"""

import re
from typing import NewType, Self

import attrs

from homeserver.core.errors import InvalidParam, UnknownPos

StreamToken = NewType("StreamToken", str)

_TOKEN = re.compile(r"s(0|-?[1-9][0-9]{0,18})(?:_[1-9][0-9]{0,18}_[1-9][0-9]{0,18})?")
_SLIDING = re.compile(r"s(0|[1-9][0-9]{0,17})_([1-9][0-9]{0,17})_([1-9][0-9]{0,17})")
_LIMIT = 2**63


@attrs.frozen(slots=True)
class SlidingToken:
    """How far a sliding sync has come: up to which position, on which connection, and what has been told of the rooms.

    Connections and steps are numbers that are never used twice.
    """

    position: int
    connection: int
    step: int

    def __str__(self) -> str:
        return f"s{self.position}_{self.connection}_{self.step}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A token as a client has been given it. Errors: UnknownPos."""
        match = _SLIDING.fullmatch(text)
        if match is None:
            raise UnknownPos
        return cls(int(match[1]), int(match[2]), int(match[3]))


def stream_token(position: int) -> StreamToken:
    """The token that stands for `position`."""
    return StreamToken(f"s{position}")


def parse_stream_token(text: str) -> int:
    """The position that a token stands for, a signed 64-bit integer.

    Errors: InvalidParam for anything that is no token.
    """
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise InvalidParam("not a token of this server")
    position = int(match[1])
    if not -_LIMIT <= position < _LIMIT:
        raise InvalidParam("not a token of this server")
    return position
