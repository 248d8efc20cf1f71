"""What a client is told when another server did not do what was asked."""

from collections.abc import Callable, Mapping
from typing import Final

from homeserver.clients.errors import RemoteError
from homeserver.core.endpoint_errors import InviteBlocked
from homeserver.core.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    MatrixError,
    NotFound,
    Unknown,
    UnsupportedRoomVersion,
)

_MEANT_FOR_CLIENTS: Final[Mapping[str, Callable[[str], MatrixError]]] = {
    "M_FORBIDDEN": Forbidden,
    "M_INVITE_BLOCKED": InviteBlocked,
    "M_NOT_FOUND": NotFound,
    "M_UNABLE_TO_AUTHORISE_JOIN": Forbidden,
    "M_UNABLE_TO_GRANT_JOIN": Forbidden,
    "M_UNSUPPORTED_ROOM_VERSION": UnsupportedRoomVersion,
}
"""The codes that tell the user something; others are between the servers."""


def error_for_client(error: RemoteError) -> MatrixError:
    """The error for the client whose request led to the call.

    "If M_MISSING_PARAM or M_INVALID_PARAM is returned ... the Client-Server API request SHOULD fail with a 5xx
    error rather than being passed through."
    """
    if (
        error.errcode == "M_INCOMPATIBLE_ROOM_VERSION"
        and error.status == 400
        and error.room_version is not None
    ):
        return IncompatibleRoomVersion(error.message, room_version=error.room_version)
    known = _MEANT_FOR_CLIENTS.get(error.errcode or "")
    if known is not None and error.status is not None and 400 <= error.status < 500:
        return known(error.message)
    return Unknown(f"The other server did not do it: {error}", status=502)
