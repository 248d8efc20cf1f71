"""Client-server API, `registration_tokens.yaml`: whether a registration token is good."""

import msgspec

from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.registration import Registrations


class ValidityQuery(msgspec.Struct):
    """The token in question."""

    token: str


class ValidityResponse(msgspec.Struct):
    """Whether it is good now."""

    valid: bool


class RegistrationTokens(msgspec.Struct, frozen=True):
    """Questions about registration tokens."""

    registrations: Registrations

    @endpoint(
        "GET",
        "/_matrix/client/v1/register/m.login.registration_token/validity",
        auth=Auth.NONE,
        limit=Limit.REGISTRATION,
    )
    async def registration_token_validity(self, query: ValidityQuery) -> ValidityResponse:
        """Whether a registration token is good."""
        return ValidityResponse(valid=await self.registrations.is_token_valid(query.token))
