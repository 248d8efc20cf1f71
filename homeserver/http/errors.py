"""From errors to HTTP: which status belongs to which code, and what a client gets to see."""

import math
from typing import Final

from homeserver.core.errors import LimitExceeded, MatrixError, Unknown
from homeserver.core.json import JsonObject, encode
from homeserver.http.response import JSON_HEADERS, Response

DEFAULT_STATUS: Final = 400

STATUSES: Final = {
    "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION": 409,
    "M_BAD_STATE": 403,
    "M_BAD_STATUS": 502,
    "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM": 403,
    "M_CANNOT_OVERWRITE_MEDIA": 409,
    "M_CONNECTION_FAILED": 502,
    "M_CONNECTION_TIMEOUT": 504,
    "M_FORBIDDEN": 403,
    "M_GUEST_ACCESS_FORBIDDEN": 403,
    "M_INVITE_BLOCKED": 403,
    "M_LIMIT_EXCEEDED": 429,
    "M_MISSING_TOKEN": 401,
    "M_NOT_FOUND": 404,
    "M_NOT_YET_UPLOADED": 504,
    "M_RESOURCE_LIMIT_EXCEEDED": 403,
    "M_THREEPID_AUTH_FAILED": 403,
    "M_THREEPID_DENIED": 403,
    "M_TOO_LARGE": 413,
    "M_UNAUTHORIZED": 401,
    "M_UNKNOWN_TOKEN": 401,
    "M_UNRECOGNIZED": 404,
    "M_USER_DEACTIVATED": 403,
    "M_USER_LIMIT_EXCEEDED": 403,
    "M_USER_LOCKED": 401,
    "M_USER_SUSPENDED": 403,
    "M_WRONG_ROOM_KEYS_VERSION": 403,
}
"""The usual status per code, where it is not 400; an error's own `status` goes before."""


def status_of(error: MatrixError) -> int:
    """The HTTP status that goes with an error."""
    return error.status if error.status is not None else STATUSES.get(error.errcode, DEFAULT_STATUS)


def error_document(error: MatrixError) -> JsonObject:
    """The error as JSON."""
    document: JsonObject = {"errcode": error.errcode, "error": error.message}
    document.update(error.fields)  # type: ignore[arg-type]  # errors are made with JSON values
    return document


def error_response(error: MatrixError) -> Response:
    """The standard error response; with status 429 also `Retry-After`.

    Spec: client-server API, "Standard error response" and "Rate limiting".
    """
    document = error_document(error)
    headers = JSON_HEADERS
    if isinstance(error, LimitExceeded):
        seconds = math.ceil(int(str(error.fields["retry_after_ms"])) / 1000)
        headers = (*JSON_HEADERS, (b"Retry-After", b"%d" % seconds))
    return Response(status_of(error), headers, encode(document))


def unexpected_response(request_id: str) -> Response:
    """For a bug of ours: the client learns but the name under which the operator finds it in the log."""
    return error_response(Unknown(f"internal server error (request {request_id})", status=500))


def unavailable_response() -> Response:
    """The database is not to be had at the moment; the client may repeat its request."""
    response = error_response(Unknown("the server cannot do this at the moment", status=503))
    return Response(response.status, (*JSON_HEADERS, (b"Retry-After", b"5")), response.body)
