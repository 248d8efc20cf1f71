"""Client-server API, `login.yaml`: logging in."""

import msgspec

from homeserver.core.errors import MissingParam, Unknown
from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.http.addresses import rate_limited_address
from homeserver.http.application import access_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.services.appservice_users import APPLICATION_SERVICE, AppserviceUsers
from homeserver.services.logins import Logins
from homeserver.services.named_users import NamedUsers
from homeserver.services.sessions import Session, Sessions

PASSWORD = "m.login.password"  # noqa: S105 - the name of a kind of login
TOKEN = "m.login.token"  # noqa: S105 - as above
SSO = "m.login.sso"

BODY_LIMIT = 65_536


class LoginFlow(msgspec.Struct, omit_defaults=True):
    """A kind of login."""

    type: str
    get_login_token: bool | None = None
    oauth_aware_preferred: bool | None = None


class LoginFlowsResponse(msgspec.Struct):
    """The kinds of login."""

    flows: list[LoginFlow]


class LoginBody(msgspec.Struct):
    """Who wants to log in, and how it is shown."""

    type: str
    identifier: JsonObject | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool | None = None


class LoginResponse(msgspec.Struct, omit_defaults=True):
    """The new session."""

    user_id: UserID
    access_token: str
    device_id: DeviceID
    home_server: ServerName
    refresh_token: str | None = None
    expires_in_ms: int | None = None
    well_known: JsonObject | None = None


class Login(msgspec.Struct, frozen=True):
    """Logging in. `public_base_url` is where clients had better go, None if they are right.

    `has_pages`: people can log in to the server itself, in a browser.
    """

    logins: Logins
    sessions: Sessions
    named: NamedUsers
    appservice_users: AppserviceUsers
    server_name: ServerName
    public_base_url: str | None
    has_pages: bool

    @endpoint("GET", "/_matrix/client/v3/login", auth=Auth.NONE)
    async def get_login_flows(self) -> LoginFlowsResponse:
        """The kinds of login there are.

        Spec: "OAuth 2.0 aware clients": they are to prefer the pages, which are those of the OAuth 2.0 API.
        """
        flows = [LoginFlow(PASSWORD), LoginFlow(TOKEN, get_login_token=True)]
        if self.has_pages:
            flows.append(LoginFlow(SSO, oauth_aware_preferred=True))
        if self.appservice_users.appservices.all:
            flows.append(LoginFlow(APPLICATION_SERVICE))
        return LoginFlowsResponse(flows)

    @endpoint("POST", "/_matrix/client/v3/login", auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def login(self, request: Request, body: LoginBody) -> LoginResponse:
        """Log in."""
        draft = self.sessions.draft(
            device_id=body.device_id,
            display_name=body.initial_device_display_name,
            wants_refresh_token=bool(body.refresh_token),
        )
        if body.type == PASSWORD:
            address = rate_limited_address(request.client_ip)
            password = _required(body.password, "password")
            name = await self.named.name_of(_identifier(body), body.user)
            session = await self.logins.by_password(name, password, draft, address=address)
        elif body.type == TOKEN:
            session = await self.logins.by_token(_required(body.token, "token"), draft)
        elif body.type == APPLICATION_SERVICE:
            name = await self.named.name_of(_identifier(body), body.user)
            session = await self.appservice_users.log_in(access_token(request), name, draft)
        else:
            raise Unknown("Bad login type")
        return self._response(session)

    def _response(self, session: Session) -> LoginResponse:
        base_url = self.public_base_url
        return LoginResponse(
            session.user_id,
            session.access_token,
            session.device_id,
            self.server_name,
            session.refresh_token,
            session.expires_in_ms,
            None if base_url is None else {"m.homeserver": {"base_url": base_url}},
        )


def _identifier(body: LoginBody) -> JsonObject | None:
    """Who is to be logged in; None if only the old `user` parameter says it."""
    identifier = body.identifier
    if identifier is None and body.user is None and body.medium is not None:
        identifier = {"type": "m.id.thirdparty", "medium": body.medium, "address": body.address}
    return identifier


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise MissingParam(f"`{name}` is missing")
    return value
