"""Client-server API, "OAuth 2.0 API": the pages on which people let apps in.

An app sends its user's browser here. Whatever the app asks for stands in the query, which goes along through all pages,
so nothing is kept until somebody has decided. Who is not logged in does that first, or makes an account.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from homeserver.api.browsers import Browsers, Visitor, is_allowed, question, see_other
from homeserver.api.oauth_paths import AUTHORIZE, LINK
from homeserver.api.pages import BODY_LIMIT, Pages
from homeserver.api.sign_in import SignIn
from homeserver.api.sign_up import SignUp
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.oauth_clients import AUTHORIZATION_CODE, ClientMetadata
from homeserver.core.oauth_errors import OAuthError
from homeserver.core.oauth_requests import CREATE, AuthorizationRequest, Callback, Parameters, one
from homeserver.core.redirect_uris import form_source, where_it_leads
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.oauth_clients import OAuthClient, OAuthClients
from homeserver.services.oauth_devices import OAuthDevices
from homeserver.services.oauth_grants import OAuthGrants

LOG_IN_AGAIN: Final = frozenset({"login", "select_account"})
"""Values of `prompt` that are not announced, but do no harm; `consent` is what is always done."""


class _Asked(msgspec.Struct, frozen=True):
    """What an app asks for, and where it is answered."""

    client: OAuthClient
    request: AuthorizationRequest
    callback: Callback


class _BadRequest(Exception):  # noqa: N818 - a verdict, not a fault
    """What an app asks for cannot be; it is told so if its user goes on."""

    def __init__(self, callback: Callback, error: OAuthError) -> None:
        super().__init__(error)
        self.callback = callback
        self.error = error


class OauthAuthorization(msgspec.Struct, frozen=True):
    """The pages to let apps in, and devices that show a code. `issuer` is the name of this server."""

    clients: OAuthClients
    grants: OAuthGrants
    devices: OAuthDevices
    browsers: Browsers
    pages: Pages
    sign_in: SignIn
    sign_up: SignUp
    issuer: str

    @endpoint("GET", AUTHORIZE, auth=Auth.NONE, limit=Limit.UPDATES)
    async def oauth_authorize(self, request: Request) -> Response:
        """Ask whether an app is to be let in. Spec: "Authorisation code flow"; RFC 6749, section 4.1.1."""
        try:
            asked = await self._asked(request)
        except MatrixError as error:
            return self.pages.error(error)
        except _BadRequest as bad:
            return self._refusal(bad)
        visitor = await self.browsers.visitor(request)
        if CREATE in asked.request.prompt:
            return self.sign_up.page(visitor, "authorize", request.query)
        if visitor.user is None or LOG_IN_AGAIN & asked.request.prompt:
            return self.sign_in.page(visitor, "authorize", request.query)
        redirect_uri = asked.request.redirect_uri
        return self._question(
            visitor,
            asked.client.metadata,
            "authorize",
            request.query,
            {"redirects": True, "leads_to": where_it_leads(redirect_uri)},
            forms_lead_to=form_source(redirect_uri),
        )

    @endpoint("POST", AUTHORIZE, auth=Auth.NONE, limit=Limit.UPDATES, body_limit=BODY_LIMIT)
    async def oauth_authorize_submit(self, request: Request) -> Response:
        """Let an app in, or not: the browser goes back to the app. RFC 6749, sections 4.1.2 and 4.1.2.1."""
        try:
            asked = await self._asked(request)
            visitor = await self.browsers.visitor(request)
            if visitor.user is None:
                return self.sign_in.page(visitor, "authorize", request.query)
            form = self.browsers.form(request, visitor)
            if not is_allowed(form):
                denied = OAuthError("access_denied", "the user does not let the app in")
                return see_other(asked.callback.with_error(denied))
            code = await self.grants.authorize(visitor.user.user_id, asked.request)
        except MatrixError as error:
            return self.pages.error(error)
        except _BadRequest as bad:
            return self._refusal(bad)
        return see_other(asked.callback.with_code(code))

    # Here, codes of others could be guessed.
    @endpoint("GET", LINK, auth=Auth.NONE, limit=Limit.LOGIN)
    async def device_link(self, request: Request) -> Response:
        """Ask whether a device that shows a code is to be let in. Spec: "Device authorisation flow"; RFC 8628."""
        try:
            typed = request.parameters().get("user_code", [""])[0]
        except InvalidParam as error:
            return self.pages.error(error)
        visitor = await self.browsers.visitor(request)
        if visitor.user is None:
            return self.sign_in.page(visitor, "link", request.query)
        waiting = await self.devices.look(typed) if typed else None
        if waiting is None:
            error_text = (
                "No device waits for that code: it may have expired, have the device show another one"
            )
            return self.pages.show(
                "link.html",
                status=404 if typed else 200,
                error=error_text if typed else None,
                action=self.pages.to(LINK),
            )
        return self._question(
            visitor, waiting.client.metadata, "link", request.query, {"user_code": waiting.user_code}
        )

    @endpoint("POST", LINK, auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def device_link_submit(self, request: Request) -> Response:
        """Let a device in, or not."""
        visitor = await self.browsers.visitor(request)
        try:
            if visitor.user is None:
                return self.sign_in.page(visitor, "link", request.query)
            form = self.browsers.form(request, visitor)
            is_denied = not is_allowed(form)
            is_done = await self.devices.decide(
                visitor.user.user_id, form.get("user_code", ""), is_denied=is_denied
            )
        except MatrixError as error:
            return self.pages.error(error)
        if not is_done:
            return self.pages.message(
                "The code is not good any more", "Begin again on the device.", status=404
            )
        if is_denied:
            return self.pages.message("The device was not let in", "You can close this page.")
        return self.pages.message("The device is let in", "You can close this page, and go on there.")

    async def _asked(self, request: Request) -> _Asked:
        """What the app asks for. Errors: InvalidParam as long as it is not known whom to answer; _BadRequest."""
        parameters = request.parameters()
        client, redirect_uri = await self._answered(parameters)
        callback = Callback.of(parameters, redirect_uri, self.issuer)
        try:
            client.check_may(AUTHORIZATION_CODE)
            wanted = AuthorizationRequest.of(parameters, client.client_id, redirect_uri)
        except OAuthError as error:
            raise _BadRequest(callback, error) from error
        return _Asked(client, wanted, callback)

    async def _answered(self, parameters: Parameters) -> tuple[OAuthClient, str]:
        """Who asks, and where the answer may go. Errors: InvalidParam.

        RFC 6749, section 4.1.2.1: the authorisation server "MUST NOT automatically redirect the user-agent to the
        invalid redirection URI".
        """
        try:
            client_id, redirect_uri = one(parameters, "client_id"), one(parameters, "redirect_uri")
        except OAuthError as error:
            raise InvalidParam("Your app has asked for something that cannot be") from error
        client = None if client_id is None else await self.clients.find(client_id)
        if client is None:
            raise InvalidParam("This server does not know your app: go back to it and begin again")
        if redirect_uri is None or not client.metadata.allows(redirect_uri):
            raise InvalidParam("This is not where your app has said that it is reached")
        return client, redirect_uri

    def _refusal(self, bad: _BadRequest) -> Response:
        """Say that it cannot be; the app is told if its user follows the link.

        Anybody can register as an app. To send browsers there without asking anybody would lend this server's name to
        whatever they are led to: RFC 9700, section 4.11.2.
        """
        host = where_it_leads(bad.callback.redirect_uri)
        return self.pages.message(
            "Your app has asked for something that cannot be",
            status=400,
            error=f"{bad.error.code}: {bad.error.description}",
            next_link=bad.callback.with_error(bad.error),
            next_host="the app on this device" if host is None else host,
        )

    def _question(
        self,
        visitor: Visitor,
        client: ClientMetadata,
        then: str,
        query: str,
        more: Mapping[str, object],
        *,
        forms_lead_to: str | None = None,
    ) -> Response:
        """The page that asks. What an app says of itself is shown as that.

        What is sure is the host that it is reached at, if it is: a scheme or a loopback address is anybody's who has
        got a program onto the device, and who shows a code is reached nowhere.
        """
        values = {
            "client": client,
            **question(self.pages, visitor, then, query),
            **more,
        }
        return self.pages.show_with("consent.html", values, forms_lead_to=forms_lead_to)
