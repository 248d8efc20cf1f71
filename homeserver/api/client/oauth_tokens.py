"""Client-server API, "OAuth 2.0 API": what apps call by themselves, to register and for tokens."""

import msgspec

from homeserver.api.oauth_paths import DEVICE, LINK, REGISTER, REVOKE, TOKEN
from homeserver.api.oauth_responses import BODY_LIMIT, answer, parameters_of, refusal
from homeserver.core.errors import BadJson, NotJson
from homeserver.core.json import JsonObject
from homeserver.core.oauth_clients import AUTHORIZATION_CODE, DEVICE_CODE, REFRESH_TOKEN
from homeserver.core.oauth_errors import OAuthError, invalid_request
from homeserver.core.oauth_requests import Parameters, Scope, one
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.oauth_clients import OAuthClients
from homeserver.services.oauth_devices import OAuthDevices
from homeserver.services.oauth_grants import Exchange, Granted, OAuthGrants


class OauthTokens(msgspec.Struct, frozen=True):
    """Clients, and their tokens. `base_url` is where people reach this server."""

    clients: OAuthClients
    grants: OAuthGrants
    devices: OAuthDevices
    base_url: str

    @endpoint("POST", REGISTER, auth=Auth.NONE, limit=Limit.REGISTRATION, body_limit=BODY_LIMIT)
    async def oauth_register_client(self, request: Request) -> Response:
        """Register an app. Spec: "Dynamic client registration flow"; RFC 7591."""
        try:
            client = await self.clients.register(request.json())
        except (NotJson, BadJson) as error:
            return refusal(OAuthError("invalid_client_metadata", _plain(error.message)), request)
        except OAuthError as error:
            return refusal(error, request)
        return answer({"client_id": client.client_id, **client.metadata.document}, 201)

    # What is guessed here has 192 bits or more: to count guesses as those of passwords would only keep devices from
    # asking every five seconds, and apps behind one address from refreshing.
    @endpoint("POST", TOKEN, auth=Auth.NONE, limit=Limit.UPDATES, body_limit=BODY_LIMIT)
    async def oauth_token(self, request: Request) -> Response:
        """Give tokens. Spec: "Grant types"."""
        try:
            granted = await self._grant(parameters_of(request))
        except OAuthError as error:
            return refusal(error, request)
        return answer(_tokens(granted))

    @endpoint("POST", REVOKE, auth=Auth.NONE, limit=Limit.UPDATES, body_limit=BODY_LIMIT)
    async def oauth_revoke(self, request: Request) -> Response:
        """End a session. Spec: "Token revocation"; RFC 7009."""
        try:
            token = _required(parameters_of(request), "token")
        except OAuthError as error:
            return refusal(error, request)
        await self.grants.revoke(token)
        return answer({})

    @endpoint("POST", DEVICE, auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def oauth_device_authorization(self, request: Request) -> Response:
        """Begin a login on a device without a browser. Spec: "Device authorisation flow"; RFC 8628."""
        try:
            parameters = parameters_of(request)
            client = await self.clients.claimed(one(parameters, "client_id"), DEVICE_CODE)
            begun = await self.devices.begin(client, Scope.parse(one(parameters, "scope")))
        except OAuthError as error:
            return refusal(error, request)
        link = self.base_url + LINK
        return answer(
            {
                "device_code": begun.device_code,
                "user_code": begun.user_code,
                "verification_uri": link,
                "verification_uri_complete": f"{link}?user_code={begun.user_code}",
                "expires_in": begun.expires_in_ms // 1000,
                "interval": begun.interval_ms // 1000,
            }
        )

    async def _grant(self, parameters: Parameters) -> Granted:
        """Errors: OAuthError."""
        grant_type = _required(parameters, "grant_type")
        if grant_type not in (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE):
            raise OAuthError("unsupported_grant_type", "this server does not know the grant")
        client = await self.clients.claimed(one(parameters, "client_id"), grant_type)
        if grant_type == AUTHORIZATION_CODE:
            exchange = Exchange(
                code=_required(parameters, "code"),
                redirect_uri=_required(parameters, "redirect_uri"),
                code_verifier=_required(parameters, "code_verifier"),
            )
            return await self.grants.exchange(client, exchange)
        if grant_type == REFRESH_TOKEN:
            token = _required(parameters, "refresh_token")
            return await self.grants.refresh(client, token, one(parameters, "scope"))
        return await self.devices.poll(client, _required(parameters, "device_code"))


def _tokens(granted: Granted) -> JsonObject:
    session = granted.session
    document: JsonObject = {"access_token": session.access_token, "token_type": "Bearer"}
    if session.expires_in_ms is not None:
        document["expires_in"] = session.expires_in_ms // 1000
    if session.refresh_token is not None:
        document["refresh_token"] = session.refresh_token
    if granted.scope is not None:
        document["scope"] = granted.scope
    return document


def _required(parameters: Parameters, name: str) -> str:
    value = one(parameters, name)
    if value is None:
        raise invalid_request(f"{name} is missing")
    return value


def _plain(message: str) -> str:
    """What may stand in `error_description`: RFC 6749, section 5.2."""
    return "".join(each if " " <= each <= "~" and each not in '"\\' else "?" for each in message)
