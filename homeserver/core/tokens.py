"""Stream tokens: the positions that clients carry between requests.

A token is `s<position>`. Positions of backfilled history are negative. Clients treat tokens as opaque; this
server reads only what it could have written, so that a token has one spelling.
"""

import re
from typing import NewType

from homeserver.core.errors import InvalidParam

StreamToken = NewType("StreamToken", str)

_TOKEN = re.compile(r"s(0|-?[1-9][0-9]{0,18})")
_LIMIT = 2**63


def stream_token(position: int) -> StreamToken:
    """The token that stands for `position`."""
    return StreamToken(f"s{position}")


def parse_stream_token(text: str) -> int:
    """The position that a token stands for, a signed 64-bit integer.

    Errors: InvalidParam for anything that `stream_token` does not make.
    """
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise InvalidParam("not a token of this server")
    position = int(match[1])
    if not -_LIMIT <= position < _LIMIT:
        raise InvalidParam("not a token of this server")
    return position
