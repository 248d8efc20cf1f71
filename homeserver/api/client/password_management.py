"""Client-server API, `password_management.yaml`: changing the password, also a forgotten one."""

import msgspec

from homeserver.api.user_interactive import PASSWORD_FLOWS, challenge_response, operation
from homeserver.api.validation_requests import EmailTokenBody, PhoneTokenBody, TokenResponse, no_phone_numbers
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.accounts import Accounts
from homeserver.services.email_validations import EmailValidations, Purpose
from homeserver.services.passwords import check_acceptable
from homeserver.services.uia import Challenge, Flows, UserInteractiveAuth
from homeserver.services.uia_stages import validation_in

BODY_LIMIT = 65_536

RESET_FLOWS: Flows = (*PASSWORD_FLOWS, ("m.login.email.identity",))


class ChangePasswordBody(msgspec.Struct):
    """The new password."""

    new_password: str
    logout_devices: bool = True
    auth: JsonObject | None = None


class PasswordManagement(msgspec.Struct, frozen=True):
    """Changing the password."""

    accounts: Accounts
    uia: UserInteractiveAuth
    validations: EmailValidations

    @endpoint(
        "POST",
        "/_matrix/client/v3/account/password",
        auth=Auth.OPTIONAL,
        limit=Limit.LOGIN,
        body_limit=BODY_LIMIT,
    )
    async def change_password(
        self, requester: Requester | None, request: Request, body: ChangePasswordBody
    ) -> JsonObject | Response:
        """Change the password of who makes the request, or without an access token, of who knows it.

        Who has no access token may also show that the e-mail address of the account is theirs.
        """
        check_acceptable(body.new_password)
        by_email = requester is None and self.validations.is_possible
        flows = RESET_FLOWS if by_email else PASSWORD_FLOWS
        outcome = await self.uia.require(operation("changePassword", requester, request, flows), body.auth)
        if isinstance(outcome, Challenge):
            return challenge_response(outcome)
        validation = validation_in(outcome)
        if validation is not None:
            await self.accounts.reset_password(
                body.new_password, validation, logout_devices=body.logout_devices
            )
            return {}
        await self.accounts.set_password(
            UserID(str(outcome.completed["m.login.password"])),
            body.new_password,
            logout_devices=body.logout_devices,
            keep=None if requester is None else requester.device_id,
        )
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/account/password/email/requestToken",
        auth=Auth.NONE,
        limit=Limit.VALIDATION,
    )
    async def request_token_to_reset_password_email(self, body: EmailTokenBody) -> TokenResponse:
        """Have the e-mail address of an account validated whose password is to be reset."""
        return TokenResponse(await self.validations.request(Purpose.RESET, body.wanted))

    @endpoint(
        "POST",
        "/_matrix/client/v3/account/password/msisdn/requestToken",
        auth=Auth.NONE,
        limit=Limit.VALIDATION,
    )
    async def request_token_to_reset_password_msisdn(
        self,
        body: PhoneTokenBody,  # noqa: ARG002 - that it is one is checked
    ) -> TokenResponse:
        """Have the telephone number of an account validated: not here."""
        raise no_phone_numbers()
