"""Server-server API, `openid.yaml`: whose an OpenID token is."""

import msgspec

from homeserver.core.errors import MissingToken
from homeserver.core.identifiers import UserID
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.openid_tokens import OpenIdTokens


class ExchangeOpenIdTokenQuery(msgspec.Struct):
    """The token."""

    access_token: str | None = None


class ExchangeOpenIdTokenResponse(msgspec.Struct):
    """Whose it is."""

    sub: UserID


class Openid(msgspec.Struct, frozen=True):
    """OpenID tokens, for whoever was given one."""

    tokens: OpenIdTokens

    @endpoint("GET", "/_matrix/federation/v1/openid/userinfo", auth=Auth.NONE, limit=Limit.FEDERATION)
    async def exchange_open_id_token(self, query: ExchangeOpenIdTokenQuery) -> ExchangeOpenIdTokenResponse:
        """Whose a token is."""
        if not query.access_token:
            raise MissingToken
        return ExchangeOpenIdTokenResponse(await self.tokens.user_of(query.access_token))
