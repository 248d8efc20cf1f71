"""Client-server API, `administrative_contact.yaml`: the addresses of an account."""

from typing import Literal

import msgspec

from homeserver.api.user_interactive import PASSWORD_FLOWS, challenge_response, operation
from homeserver.api.validation_requests import EmailTokenBody, PhoneTokenBody, TokenResponse, no_phone_numbers
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.threepids import canonical
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.bindings import Bindings, Credentials
from homeserver.services.contacts import Contacts
from homeserver.services.email_validations import EmailValidations, Purpose
from homeserver.services.uia import Challenge, UserInteractiveAuth

BASE = "/_matrix/client/v3/account/3pid"


class ThreepidEntry(msgspec.Struct):
    """An address of the account; `validated_at` and `added_at` in milliseconds since 1970."""

    medium: str
    address: str
    validated_at: int
    added_at: int


class ThreepidsResponse(msgspec.Struct):
    """The addresses of the account."""

    threepids: list[ThreepidEntry]


class AddBody(msgspec.Struct):
    """The validation session of the address."""

    client_secret: str
    sid: str
    auth: JsonObject | None = None


class BindBody(msgspec.Struct):
    """A validation session on an identity server."""

    client_secret: str
    id_server: str
    id_access_token: str
    sid: str

    @property
    def credentials(self) -> Credentials:
        """As the service takes them."""
        return Credentials(self.id_server, self.id_access_token, self.sid, self.client_secret)


class OldBindBody(msgspec.Struct):
    """The same, as it was before."""

    three_pid_creds: BindBody


class RemoveBody(msgspec.Struct):
    """The address, and the identity server that is to forget it too."""

    medium: Literal["email", "msisdn"]
    address: str
    id_server: str | None = None


class UnbindResponse(msgspec.Struct):
    """Whether an identity server has forgotten the address."""

    id_server_unbind_result: str


class AdministrativeContact(msgspec.Struct, frozen=True):
    """The addresses of an account."""

    contacts: Contacts
    bindings: Bindings
    validations: EmailValidations
    uia: UserInteractiveAuth

    @endpoint("GET", BASE, auth=Auth.USER)
    async def get_account_3pi_ds(self, requester: Requester) -> ThreepidsResponse:
        """The addresses of the requester's account."""
        return ThreepidsResponse(
            [
                ThreepidEntry(own.threepid.medium, own.threepid.address, own.validated_ts, own.added_ts)
                for own in await self.contacts.of(requester.user_id)
            ]
        )

    @endpoint("POST", f"{BASE}/add", auth=Auth.USER, limit=Limit.LOGIN)
    async def add_3pid(self, requester: Requester, request: Request, body: AddBody) -> JsonObject | Response:
        """Add an address that was validated to the account."""
        # What could be refused is refused before the user is asked for the password.
        validated = await self.contacts.validated(requester, body.sid, body.client_secret)
        outcome = await self.uia.require(operation("add3PID", requester, request, PASSWORD_FLOWS), body.auth)
        if isinstance(outcome, Challenge):
            return challenge_response(outcome)
        await self.contacts.add(requester, validated)
        return {}

    @endpoint("POST", BASE, auth=Auth.USER, limit=Limit.LOGIN)
    async def post_3pi_ds(self, requester: Requester, body: OldBindBody) -> JsonObject:
        """As `bind_3pid`: "This results in this endpoint being an equivalent to `/3pid/bind`"."""
        await self.bindings.bind(requester, body.three_pid_creds.credentials)
        return {}

    @endpoint("POST", f"{BASE}/bind", auth=Auth.USER, limit=Limit.LOGIN)
    async def bind_3pid(self, requester: Requester, body: BindBody) -> JsonObject:
        """Have an identity server tell others whose an address is."""
        await self.bindings.bind(requester, body.credentials)
        return {}

    @endpoint("POST", f"{BASE}/unbind", auth=Auth.USER, limit=Limit.LOGIN)
    async def unbind_3pid_from_account(self, requester: Requester, body: RemoveBody) -> UnbindResponse:
        """Have an identity server tell others no longer whose an address is."""
        threepid = canonical(body.medium, body.address)
        return _unbound(await self.bindings.unbind(requester.user_id, threepid, body.id_server))

    @endpoint("POST", f"{BASE}/delete", auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_3pid_from_account(self, requester: Requester, body: RemoveBody) -> UnbindResponse:
        """Remove an address from the account, and have identity servers forget it, as far as they do."""
        threepid = canonical(body.medium, body.address)
        await self.contacts.remove(requester, threepid)
        published = await self.bindings.of(requester.user_id, body.id_server)
        targets = [binding for binding in published if binding.threepid == threepid]
        is_done = await self.bindings.unbind_as_far_as_possible(requester.user_id, targets)
        return _unbound(bool(targets) and is_done)

    @endpoint("POST", f"{BASE}/email/requestToken", auth=Auth.OPTIONAL, limit=Limit.VALIDATION)
    async def request_token_to_3pid_email(
        self, requester: Requester | None, body: EmailTokenBody
    ) -> TokenResponse:
        """Have an e-mail address validated that is to be added."""
        user_id = None if requester is None else requester.user_id
        return TokenResponse(await self.validations.request(Purpose.ADD, body.wanted, user_id))

    @endpoint("POST", f"{BASE}/msisdn/requestToken", auth=Auth.OPTIONAL, limit=Limit.VALIDATION)
    async def request_token_to_3pidmsisdn(
        self,
        requester: Requester | None,  # noqa: ARG002 - who sends a token must send a good one
        body: PhoneTokenBody,  # noqa: ARG002 - that it is one is checked
    ) -> TokenResponse:
        """Have a telephone number validated: not here."""
        raise no_phone_numbers()


def _unbound(is_done: bool) -> UnbindResponse:
    return UnbindResponse("success" if is_done else "no-support")
