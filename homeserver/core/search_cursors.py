"""The tokens by which a client gets further results of a search. Spec: client-server API, "Server Side Search"."""

from typing import Literal, Self

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.hashes import decode_base64, encode_base64_url_safe

GroupKey = Literal["room_id", "sender"]
"""What results can be grouped by."""

_STANDARD = str.maketrans("-_", "+/")


class SearchCursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where to go on: behind so many matches of those up to a position of the stream; perhaps in one group only."""

    upto: int
    offset: int
    group_by: GroupKey | None = None
    group: str | None = None

    def to_token(self) -> str:
        """The cursor as clients carry it."""
        return encode_base64_url_safe(msgspec.json.encode(self))

    @classmethod
    def parse(cls, token: str) -> Self:
        """The inverse of `to_token`. Errors: InvalidParam."""
        try:
            cursor = msgspec.json.decode(decode_base64(token.translate(_STANDARD)), type=cls)
        except (ValueError, msgspec.DecodeError):
            raise InvalidParam("not a token of this server") from None
        if (
            cursor.offset < 0
            or not 0 <= cursor.upto < 2**63
            or (cursor.group_by is None) != (cursor.group is None)
        ):
            raise InvalidParam("not a token of this server")
        return cursor
