"""Client-server API, `login_token.yaml`: letting another client log in."""

import msgspec

from homeserver.api.user_interactive import PASSWORD_FLOWS, challenge_response, operation
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.logins import Logins
from homeserver.services.uia import Challenge, UserInteractiveAuth


class LoginTokenBody(msgspec.Struct):
    """The stage of the authentication."""

    auth: JsonObject | None = None


class LoginTokenResponse(msgspec.Struct):
    """The token."""

    login_token: str
    expires_in_ms: int


class LoginToken(msgspec.Struct, frozen=True):
    """Letting another client log in."""

    logins: Logins
    uia: UserInteractiveAuth

    @endpoint("POST", "/_matrix/client/v1/login/get_token", auth=Auth.USER, limit=Limit.LOGIN)
    async def generate_login_token(
        self, requester: Requester, request: Request, body: LoginTokenBody
    ) -> LoginTokenResponse | Response:
        """Make a token that is good for one login of the same user."""
        wanted = operation("generateLoginToken", requester, request, PASSWORD_FLOWS)
        outcome = await self.uia.require(wanted, body.auth)
        if isinstance(outcome, Challenge):
            return challenge_response(outcome)
        token, expires_in_ms = await self.logins.make_token(requester.user_id)
        return LoginTokenResponse(token, expires_in_ms)
