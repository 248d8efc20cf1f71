"""Stream tokens: the positions that clients carry between requests.

A token is `s<position>`. Positions of backfilled history are negative. Clients treat tokens as opaque; this
server reads only what it could have written, so that a token has one spelling.

The token of an answer that has not brought all messages to its device is `s<position>~<to_device>`: it leads
on from the position, and from where the messages ended. Wherever else it is used, it is good for its position.

The tokens of sliding sync are `s<position>_<connection>_<step>`, and are good for a position, too.
"""

import re
from typing import NewType, Self

import msgspec

from homeserver.core.endpoint_errors import UnknownPos
from homeserver.core.errors import InvalidParam

StreamToken = NewType("StreamToken", str)

_TOKEN = re.compile(r"s(0|-?[1-9][0-9]{0,18})(?:_[1-9][0-9]{0,18}_[1-9][0-9]{0,18}|~(0|[1-9][0-9]{0,18}))?")
_SLIDING = re.compile(r"s(0|[1-9][0-9]{0,17})_([1-9][0-9]{0,17})_([1-9][0-9]{0,17})")
_LIMIT = 2**63


class SlidingToken(msgspec.Struct, frozen=True):
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


class SyncToken(msgspec.Struct, frozen=True):
    """How far a client is: the position up to which it has been told everything, but for messages to its device.

    Those it has been given up to `to_device`; `None`: up to the position, too.
    """

    position: int
    to_device: int | None = None

    def __str__(self) -> str:
        return f"s{self.position}" if self.to_device is None else f"s{self.position}~{self.to_device}"

    @property
    def messages_upto(self) -> int:
        """The position up to which the client has been given the messages to its device."""
        return self.position if self.to_device is None else self.to_device

    @classmethod
    def parse(cls, text: str) -> Self:
        """A token as a client has been given it.

        One of sliding sync, which gives messages by tokens of their own, says nothing of them. Errors: InvalidParam.
        """
        position = parse_stream_token(text)
        if "_" in text:
            return cls(position, 0)
        _, tilde, to_device = text.partition("~")
        return cls(position, parse_stream_token(f"s{to_device}") if tilde else None)


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
