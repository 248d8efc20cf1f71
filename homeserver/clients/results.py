"""What a JSON response says, be it a result or an error."""

from typing import Final

from homeserver.clients.errors import RemoteError
from homeserver.clients.http_responses import Response
from homeserver.core.errors import BadJson, MatrixError
from homeserver.core.json import JsonObject, decode

LONGEST_ERROR: Final = 300
"""What is kept of the message of an error response."""


def result_of(party: str, response: Response) -> JsonObject:
    """The object in a response of `party`. Errors: RemoteError."""
    status = response.status
    try:
        document = _object_in(response.body)
    except MatrixError as error:
        if status == 200:
            raise RemoteError(
                party, f"the response is no JSON object: {error.message}", transient=True, status=status
            ) from error
        document = {}
    if status == 200:
        return document
    message = document.get("error")
    raise RemoteError(
        party,
        message[:LONGEST_ERROR] if isinstance(message, str) and message else f"the status is {status}",
        # A redirect, which a server has no reason to send, comes from what stands before it at the moment.
        transient=status >= 500 or status == 429 or status < 400,
        status=status,
        errcode=_text_in(document, "errcode"),
        room_version=_text_in(document, "room_version"),
    )


def _object_in(body: bytes) -> JsonObject:
    """The object that a body is, or that version 1 of some endpoints gives as `[200, {...}]`.

    Errors: NotJson, BadJson.
    """
    match decode(body):
        case dict(document) | [200, dict(document)]:
            return document
    raise BadJson("it is something else")


def _text_in(document: JsonObject, key: str) -> str | None:
    text = document.get(key)
    return text[:LONGEST_ERROR] if isinstance(text, str) else None
