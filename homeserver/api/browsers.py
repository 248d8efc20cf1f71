"""Browsers that this server's own pages are seen in: who is logged in there, and that a form comes from a page of ours.

A browser has one cookie: a secret, which is that of a session once somebody has logged in, and another one then. Each
form holds a MAC of it, so another site's form is refused, be it before or after a login.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

import attrs
import msgspec

from homeserver.api.oauth_paths import LOG_OUT, PAGES
from homeserver.api.pages import Pages, form_of
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.browser_sessions import BrowserSessions, BrowserUser

FIELD: Final = "form_token"

DECISION: Final = "decision"
ALLOW: Final = "allow"

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_OURS: Final = frozenset({b"same-origin", b"none"})


@attrs.frozen
class Visitor:
    """Who sees a page. `is_new`: the browser does not know the secret yet. `user` is None if nobody is logged in."""

    secret: str = attrs.field(repr=False)
    is_new: bool
    user: BrowserUser | None

    @property
    def form_token(self) -> str:
        """What forms on the page hold."""
        return hmac.new(self.secret.encode(), b"form", hashlib.sha256).hexdigest()

    @property
    def user_id(self) -> UserID | None:
        """Who is logged in."""
        return None if self.user is None else self.user.user_id


class Browsers(msgspec.Struct, frozen=True):
    """Tells visitors from each other. `is_secure`: they come by TLS."""

    sessions: BrowserSessions
    is_secure: bool

    @classmethod
    def of(cls, sessions: BrowserSessions, base_url: str) -> Self:
        """Those that reach the server by that URL."""
        return cls(sessions, urlsplit(base_url).scheme == "https")

    @property
    def cookie(self) -> str:
        """The cookie's name. With this prefix, a browser takes it from nobody but this host, and over TLS."""
        return "__Host-homeserver" if self.is_secure else "homeserver"

    async def visitor(self, request: Request) -> Visitor:
        """Who makes the request."""
        secret = self._secret_in(request)
        if secret is None:
            return Visitor(secrets.token_urlsafe(32), is_new=True, user=None)
        return Visitor(secret, is_new=False, user=await self.sessions.user_of(secret))

    def form(self, request: Request, visitor: Visitor) -> dict[str, str]:
        """The form that was sent, by a page that the same browser was given. Errors: Forbidden; InvalidParam."""
        site = request.headers.get(b"sec-fetch-site")
        if site is not None and site not in _OURS:
            raise Forbidden("This form was sent by another site")
        form = form_of(request)
        sent = form.get(FIELD, "").encode()
        if visitor.is_new or not hmac.compare_digest(sent, visitor.form_token.encode()):
            raise Forbidden(
                "This page is too old, or your browser keeps no cookies: go back and load it again"
            )
        return form

    def shown_to(self, visitor: Visitor, response: Response) -> Response:
        """The response with what the visitor's browser needs to send forms."""
        return self.with_secret(response, visitor.secret) if visitor.is_new else response

    def with_secret(self, response: Response, secret: str) -> Response:
        """The response with a new cookie. It is gone with the browser; and it is sent by no form of another site."""
        attributes = "; Secure" if self.is_secure else ""
        value = f"{self.cookie}={secret}; Path=/; HttpOnly; SameSite=Lax{attributes}"
        return attrs.evolve(response, headers=(*response.headers, (b"Set-Cookie", value.encode())))

    def _secret_in(self, request: Request) -> str | None:
        for line in request.header_values(b"cookie"):
            for pair in line.decode("latin-1").split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie and _SECRET.fullmatch(value):
                    return value
        return None


def question(pages: Pages, visitor: Visitor, then: str, query: str) -> dict[str, object]:
    """What a page needs that asks whether an app is to be let in, which is the page `then` with that query."""
    return {
        "user_id": visitor.user_id,
        "action": pages.to(PAGES[then], query),
        "log_out": pages.to(LOG_OUT.replace("{then}", then), query),
        "form_token": visitor.form_token,
    }


def is_allowed(form: Mapping[str, str]) -> bool:
    """Whether the app is let in, by the form of a page that has asked."""
    return form.get(DECISION) == ALLOW


def see_other(location: str) -> Response:
    """Send the browser elsewhere, to look at that."""
    return redirect(location, status=303)


def redirect(location: str, *, status: int) -> Response:
    """Send the browser elsewhere."""
    headers = (
        (b"Location", location.encode()),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
    )
    return Response(status, headers)


def requester_of(user: BrowserUser) -> Requester:
    """Who is logged in in a browser, for services that ask who makes a request."""
    return Requester(
        user_id=user.user_id,
        device_id=None,
        is_guest=False,
        is_admin=False,
        appservice_id=None,
        token_hash=b"",
        is_suspended=user.is_suspended,
    )
