"""Client-server API, `openid.yaml`: tokens to show other services who one is."""

import msgspec

from homeserver.core.identifiers import ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.openid_tokens import OpenIdTokens


class RequestOpenIdTokenResponse(msgspec.Struct):
    """A token, and who can tell whose it is; `expires_in` is in seconds."""

    access_token: str
    matrix_server_name: ServerName
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - the kind of token


class Openid(msgspec.Struct, frozen=True):
    """OpenID tokens."""

    tokens: OpenIdTokens
    server_name: ServerName

    @endpoint(
        "POST",
        "/_matrix/client/v3/user/{user_id}/openid/request_token",
        auth=Auth.USER,
        limit=Limit.UPDATES,
    )
    async def request_open_id_token(
        self, requester: Requester, user_id: UserID, body: JsonObject
    ) -> RequestOpenIdTokenResponse:
        """A token of the requester; the body is reserved."""
        del body
        token, expires_in = await self.tokens.make(requester, user_id)
        return RequestOpenIdTokenResponse(token, self.server_name, expires_in)
