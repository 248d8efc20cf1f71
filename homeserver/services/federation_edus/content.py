"""Reading the contents of EDUs, which are whatever another server sends."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import structlog

from homeserver.core.errors import BadJson, Forbidden, MatrixError
from homeserver.core.identifiers import ServerName, UserID, parse_user_id, server_of

S = TypeVar("S")
T = TypeVar("T")

_log = structlog.get_logger(__name__)


def read_as(shape: type[S], content: object) -> S:
    """The content in the shape of a Struct. Errors: BadJson."""
    try:
        return msgspec.convert(content, shape)
    except msgspec.ValidationError as error:
        raise BadJson(str(error)) from None


def user_of(origin: ServerName, text: str) -> UserID:
    """The user ID, which must be of the server that speaks. Errors: InvalidParam; Forbidden if it is of another."""
    user_id = parse_user_id(text)
    if server_of(user_id) != origin:
        raise Forbidden("the user is of another server")
    return user_id


def read_each(
    read: Callable[[ServerName, Any], T], origin: ServerName, items: Iterable[object], *, what: str
) -> list[T]:
    """What `read` makes of the items; those that it refuses are left out, which the log says once."""
    found: list[T] = []
    refused: list[MatrixError] = []
    for item in items:
        try:
            found.append(read(origin, item))
        except MatrixError as error:
            refused.append(error)
    if refused:
        _log.info(
            "parts of EDUs were ignored", what=what, origin=origin, number=len(refused), first=str(refused[0])
        )
    return found
