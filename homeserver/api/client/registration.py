"""Client-server API, `registration.yaml`: making an account."""

from typing import Literal

import msgspec

from homeserver.api.user_interactive import challenge_response
from homeserver.api.validation_requests import EmailTokenBody, PhoneTokenBody, TokenResponse, no_phone_numbers
from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.http.addresses import rate_limited_address
from homeserver.http.application import access_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.appservice_users import APPLICATION_SERVICE, AppserviceUsers
from homeserver.services.email_validations import EmailValidations, Purpose
from homeserver.services.registration import Registered, RegistrationRequest, Registrations
from homeserver.services.uia import Challenge

BODY_LIMIT = 65_536


class RegisterQuery(msgspec.Struct):
    """The kind of account."""

    kind: Literal["user", "guest"] = "user"


class RegisterResponse(msgspec.Struct, omit_defaults=True):
    """The new account, and its first session unless that was not wanted."""

    user_id: UserID
    home_server: ServerName
    device_id: DeviceID | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class AvailableQuery(msgspec.Struct):
    """The name in question."""

    username: str


class AvailableResponse(msgspec.Struct):
    """Always true: otherwise there is an error."""

    available: bool


class Registration(msgspec.Struct, frozen=True):
    """Making an account."""

    registrations: Registrations
    validations: EmailValidations
    appservice_users: AppserviceUsers
    server_name: ServerName

    @endpoint(
        "POST",
        "/_matrix/client/v3/register",
        auth=Auth.NONE,
        limit=Limit.REGISTRATION,
        body_limit=BODY_LIMIT,
    )
    async def register(
        self, request: Request, query: RegisterQuery, body: RegistrationRequest
    ) -> RegisterResponse | Response:
        """Register a user, a guest, or a user of an application service."""
        outcome: Challenge | Registered
        if query.kind == "guest":
            # Of a guest's parameters all but the device's name are to be ignored.
            outcome = await self.registrations.register_guest(body.initial_device_display_name)
        elif body.type == APPLICATION_SERVICE:
            outcome = await self.appservice_users.register(access_token(request), body)
        else:
            address = rate_limited_address(request.client_ip)
            outcome = await self.registrations.register(body, address=address)
        return challenge_response(outcome) if isinstance(outcome, Challenge) else self._response(outcome)

    @endpoint("GET", "/_matrix/client/v3/register/available", auth=Auth.NONE, limit=Limit.REGISTRATION)
    async def check_username_availability(self, query: AvailableQuery) -> AvailableResponse:
        """Whether a name is free."""
        await self.registrations.check_available(query.username)
        return AvailableResponse(available=True)

    @endpoint(
        "POST", "/_matrix/client/v3/register/email/requestToken", auth=Auth.NONE, limit=Limit.VALIDATION
    )
    async def request_token_to_register_email(self, body: EmailTokenBody) -> TokenResponse:
        """Have the e-mail address of a new account validated."""
        self.registrations.check_enabled()
        return TokenResponse(await self.validations.request(Purpose.REGISTER, body.wanted))

    @endpoint(
        "POST", "/_matrix/client/v3/register/msisdn/requestToken", auth=Auth.NONE, limit=Limit.VALIDATION
    )
    async def request_token_to_register_msisdn(
        self,
        body: PhoneTokenBody,  # noqa: ARG002 - that it is one is checked
    ) -> TokenResponse:
        """Have the telephone number of a new account validated: not here."""
        raise no_phone_numbers()

    def _response(self, registered: Registered) -> RegisterResponse:
        session = registered.session
        if session is None:
            return RegisterResponse(registered.user_id, self.server_name)
        return RegisterResponse(
            registered.user_id,
            self.server_name,
            session.device_id,
            session.access_token,
            session.refresh_token,
            session.expires_in_ms,
        )
