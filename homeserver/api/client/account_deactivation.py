"""Client-server API, `account_deactivation.yaml`: closing the account."""

import msgspec

from homeserver.api.user_interactive import PASSWORD_FLOWS, challenge_response, operation
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.accounts import Accounts
from homeserver.services.bindings import Bindings
from homeserver.services.uia import Challenge, UserInteractiveAuth


class DeactivateBody(msgspec.Struct):
    """How thoroughly."""

    auth: JsonObject | None = None
    id_server: str | None = None
    erase: bool = False


class DeactivateResponse(msgspec.Struct):
    """Whether third-party identifiers were unbound; `success` too if there were none."""

    id_server_unbind_result: str


class AccountDeactivation(msgspec.Struct, frozen=True):
    """Closing the account."""

    accounts: Accounts
    bindings: Bindings
    uia: UserInteractiveAuth

    @endpoint("POST", "/_matrix/client/v3/account/deactivate", auth=Auth.OPTIONAL, limit=Limit.LOGIN)
    async def deactivate_account(
        self, requester: Requester | None, request: Request, body: DeactivateBody
    ) -> DeactivateResponse | Response:
        """Close the account of who makes the request, or without an access token, of who proves to own it."""
        wanted = operation("deactivateAccount", requester, request, PASSWORD_FLOWS)
        outcome = await self.uia.require(wanted, body.auth)
        if isinstance(outcome, Challenge):
            return challenge_response(outcome)
        user_id = UserID(str(outcome.completed["m.login.password"]))
        published = await self.bindings.of(user_id, body.id_server)
        await self.accounts.deactivate(user_id, erase=body.erase)
        is_done = await self.bindings.unbind_as_far_as_possible(user_id, published)
        return DeactivateResponse("success" if is_done else "no-support")
