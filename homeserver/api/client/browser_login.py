"""Logging in to this server's own pages, and out."""

import msgspec

from homeserver.api.browsers import Browsers, see_other
from homeserver.api.oauth_paths import LOG_IN, LOG_OUT, PAGES
from homeserver.api.pages import BODY_LIMIT, Pages
from homeserver.api.sign_in import SignIn, with_prompt
from homeserver.api.stage_forms import identifier_of
from homeserver.core.errors import MatrixError, NotFound
from homeserver.http.addresses import rate_limited_address
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.errors import status_of
from homeserver.http.request import Request
from homeserver.http.response import Response


class BrowserLogin(msgspec.Struct, frozen=True):
    """The forms to log in and out; `then` names the page that the browser goes on to, with the same query."""

    browsers: Browsers
    sign_in: SignIn
    pages: Pages

    @endpoint("POST", LOG_IN, auth=Auth.NONE, limit=Limit.LOGIN, body_limit=BODY_LIMIT)
    async def browser_log_in(self, request: Request, then: str) -> Response:
        """Log in by password."""
        visitor = await self.browsers.visitor(request)
        try:
            target = _page(then)
            form = self.browsers.form(request, visitor)
        except MatrixError as error:
            return self.pages.error(error)
        name, query = form.get("user", "").strip(), request.query
        try:
            secret = await self.browsers.sessions.log_in(
                identifier_of(name),
                form.get("password", ""),
                address=rate_limited_address(request.client_ip),
            )
        except MatrixError as error:
            return self.sign_in.page(
                visitor, then, query, name=name, error=error.message, status=status_of(error)
            )
        if secret is None:
            wrong = "The user name or the password is wrong"
            return self.sign_in.page(visitor, then, query, name=name, error=wrong, status=403)
        await self.browsers.sessions.close(visitor.secret)
        return self.browsers.with_secret(see_other(self.pages.to(target, with_prompt(query, None))), secret)

    @endpoint("POST", LOG_OUT, auth=Auth.NONE, limit=Limit.UPDATES, body_limit=BODY_LIMIT)
    async def browser_log_out(self, request: Request, then: str) -> Response:
        """Log out in this browser; apps stay logged in."""
        visitor = await self.browsers.visitor(request)
        try:
            target = _page(then)
            self.browsers.form(request, visitor)
        except MatrixError as error:
            return self.pages.error(error)
        await self.browsers.sessions.close(visitor.secret)
        return see_other(self.pages.to(target, request.query))


def _page(then: str) -> str:
    """Errors: NotFound."""
    if then not in PAGES:
        raise NotFound("There is no such page")
    return PAGES[then]
