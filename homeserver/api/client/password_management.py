"""Client-server API, `password_management.yaml`: changing the password."""

import attrs
import msgspec

from homeserver.api.user_interactive import PASSWORD_FLOWS, challenge_response, operation
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.accounts import Accounts
from homeserver.services.passwords import check_acceptable
from homeserver.services.uia import Challenge, UserInteractiveAuth

BODY_LIMIT = 65_536


class ChangePasswordBody(msgspec.Struct):
    """The new password."""

    new_password: str
    logout_devices: bool = True
    auth: JsonObject | None = None


@attrs.frozen
class PasswordManagement:
    """Changing the password."""

    accounts: Accounts
    uia: UserInteractiveAuth

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
        """Change the password of who makes the request, or without an access token, of who knows it."""
        check_acceptable(body.new_password)
        wanted = operation("changePassword", requester, request, PASSWORD_FLOWS)
        outcome = await self.uia.require(wanted, body.auth)
        if isinstance(outcome, Challenge):
            return challenge_response(outcome)
        await self.accounts.set_password(
            UserID(str(outcome.completed["m.login.password"])),
            body.new_password,
            logout_devices=body.logout_devices,
            keep=None if requester is None else requester.device_id,
        )
        return {}
