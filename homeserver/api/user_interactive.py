"""What endpoints with User-Interactive Authentication share: the 401 response that asks for a stage."""

from homeserver.core.errors import Forbidden
from homeserver.core.json import JsonObject, JsonValue, encode
from homeserver.core.requester import Requester
from homeserver.http.addresses import rate_limited_address
from homeserver.http.request import Request
from homeserver.http.response import JSON_HEADERS, Response
from homeserver.services.uia import OAUTH, Challenge, Flows, Operation

PASSWORD_FLOWS: Flows = (("m.login.password",),)
OAUTH_FLOWS: Flows = ((OAUTH,),)


def operation(name: str, requester: Requester | None, request: Request, flows: Flows) -> Operation:
    """What is to be authorised: `name` says what and to what, and the request's body belongs to it.

    Errors: Forbidden for a session of the OAuth 2.0 API: "The User-Interactive Authentication API is not compatible
    with the OAuth 2.0 API", apart from the one stage that is.
    """
    if requester is not None and requester.is_oauth and flows is not OAUTH_FLOWS:
        raise Forbidden("This is done on the page of your account, where you have let the app in")
    return Operation(
        name=name,
        user_id=None if requester is None else requester.user_id,
        request={key: value for key, value in request.json().items() if key != "auth"},
        flows=flows,
        address=rate_limited_address(request.client_ip),
    )


def challenge_response(challenge: Challenge) -> Response:
    """The response that asks for the next stage; `errcode` and `error` are there if the last one failed.

    Spec: client-server API, "User-interactive API in the REST API".
    """
    stages: list[JsonValue] = [{"stages": list(flow)} for flow in challenge.flows]
    document: JsonObject = {"flows": stages, "params": challenge.params, "session": challenge.session}
    if challenge.completed:
        document["completed"] = list(challenge.completed)
    if challenge.error is not None:
        document["errcode"] = challenge.error.errcode
        document["error"] = challenge.error.message
    return Response(401, JSON_HEADERS, encode(document))
