"""Client-server API, `sso_login_redirect.yaml`: logging in to an app by this server's own pages.

For apps that do not know the OAuth 2.0 API yet: "OAuth 2.0 aware clients". The one who is logged in is asked before any
token leaves, so nothing is gained by having a browser begin with somebody else's `redirectUrl`.
"""

from typing import Final
from urllib.parse import urlencode

import msgspec

from homeserver.api.browsers import Browsers, Visitor, is_allowed, question, redirect, see_other
from homeserver.api.oauth_paths import SSO
from homeserver.api.pages import BODY_LIMIT, Pages
from homeserver.api.sign_in import SignIn
from homeserver.api.sign_up import SignUp
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.oauth_requests import CREATE
from homeserver.core.redirect_uris import form_source, where_it_leads
from homeserver.core.sso_redirects import check_redirect_url, with_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.logins import Logins

REGISTER: Final = "register"
ACTIONS: Final = ("login", REGISTER)

TOKEN_LIFETIME_MS: Final = 30_000
"""The specification speaks of about five seconds. A web app that was left for this has to be loaded first."""


class SsoLoginRedirect(msgspec.Struct, frozen=True):
    """The way to the pages, and the page that asks whether the app is to be let in."""

    logins: Logins
    browsers: Browsers
    pages: Pages
    sign_in: SignIn
    sign_up: SignUp

    @endpoint("GET", "/_matrix/client/v3/login/sso/redirect", auth=Auth.NONE, limit=Limit.UPDATES)
    async def redirect_to_sso(self, request: Request) -> Response:
        """Send the browser to the page."""
        try:
            given = request.parameters()
            target = _target(request)
            action = given.get("action", ["login"])[0]
            if action not in ACTIONS:
                raise InvalidParam("`action` must be login or register")
        except MatrixError as error:
            return self.pages.error(error)
        query = {"redirectUrl": target} | ({"prompt": CREATE} if action == REGISTER else {})
        return redirect(self.pages.to(SSO, urlencode(query)), status=302)

    @endpoint("GET", "/_matrix/client/v3/login/sso/redirect/{idpId}", auth=Auth.NONE, limit=Limit.UPDATES)
    async def redirect_to_id_p(self, idpId: str) -> Response:  # noqa: N803, ARG002 - the path's name
        """Say that there is no such identity provider: people log in to this server itself."""
        return self.pages.error(NotFound("There is no such identity provider: log in to this server itself"))

    @endpoint("GET", SSO, auth=Auth.NONE, limit=Limit.UPDATES)
    async def sso_login(self, request: Request) -> Response:
        """Ask whether the app is to be let in."""
        try:
            target = _target(request)
        except MatrixError as error:
            return self.pages.error(error)
        visitor = await self.browsers.visitor(request)
        if request.parameters().get("prompt") == [CREATE]:
            return self.sign_up.page(visitor, "sso", request.query)
        if visitor.user is None:
            return self.sign_in.page(visitor, "sso", request.query)
        return self._question(visitor, target, request.query)

    @endpoint("POST", SSO, auth=Auth.NONE, limit=Limit.UPDATES, body_limit=BODY_LIMIT)
    async def sso_login_submit(self, request: Request) -> Response:
        """Let the app in, by a token that is good once; or not."""
        try:
            target = _target(request)
            visitor = await self.browsers.visitor(request)
            if visitor.user is None:
                return self.sign_in.page(visitor, "sso", request.query)
            if not is_allowed(self.browsers.form(request, visitor)):
                return self.pages.message("The app was not let in", "You can close this page.")
            token, _ = await self.logins.make_token(visitor.user.user_id, lifetime_ms=TOKEN_LIFETIME_MS)
        except MatrixError as error:
            return self.pages.error(error)
        return see_other(with_token(target, token))

    def _question(self, visitor: Visitor, target: str, query: str) -> Response:
        values = {"host": where_it_leads(target), **question(self.pages, visitor, "sso", query)}
        return self.pages.show_with("sso.html", values, forms_lead_to=form_source(target))


def _target(request: Request) -> str:
    """Where the app waits. Errors: InvalidParam."""
    given = request.parameters().get("redirectUrl", [])
    if len(given) != 1:
        raise InvalidParam("Your app has not said where it is reached: `redirectUrl` is missing")
    check_redirect_url(given[0])
    return given[0]
