"""What endpoints share that apps call by OAuth: parameters in a form, and errors as OAuth has them.

Spec: RFC 6749, sections 4.1.3 and 5.2. They have no `errcode`: clients tell the two kinds of errors apart by that.
"""

from typing import Final

from homeserver.core.errors import InvalidParam
from homeserver.core.json import JsonObject, encode
from homeserver.core.oauth_errors import OAuthError, invalid_request
from homeserver.core.oauth_requests import Parameters
from homeserver.http.request import Request, form_fields
from homeserver.http.response import JSON_HEADERS, Response

BODY_LIMIT: Final = 65_536

_FORM: Final = b"application/x-www-form-urlencoded"


def parameters_of(request: Request) -> Parameters:
    """What the request's body says. Errors: OAuthError.

    A client that has a password, and sends it as HTTP has it, is none of this server's.
    """
    if request.headers.get(b"authorization", b"").lower().startswith(b"basic "):
        raise OAuthError("invalid_client", "clients have no secret here", status=401)
    kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM:
        raise invalid_request("the parameters must come as a form")
    try:
        return form_fields(request.body)
    except InvalidParam:
        raise invalid_request("the form is malformed") from None


def answer(document: JsonObject, status: int = 200) -> Response:
    """What a client gets."""
    return Response(status, JSON_HEADERS, encode(document))


def refusal(error: OAuthError, request: Request) -> Response:
    """What a client gets instead."""
    headers = JSON_HEADERS
    if error.status == 401 and b"authorization" in request.headers:
        # Of who has tried that. To others, browsers would show a window that asks for a password.
        headers = (*JSON_HEADERS, (b"WWW-Authenticate", b'Basic realm="OAuth"'))
    document: JsonObject = {"error": error.code, "error_description": error.description}
    return Response(error.status, headers, encode(document))
