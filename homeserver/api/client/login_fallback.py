"""Client-server API, "Login Fallback": pages on which people log in, or make an account, for apps that cannot ask them.

The one for accounts is no longer in the specification; clients open it nevertheless.
"""

from typing import Final

import msgspec

from homeserver.api.pages import Pages
from homeserver.core.errors import InvalidParam
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response

API: Final = "/_matrix/client/v3"
"""What the scripts of the pages call."""

HANDED_ON: Final = ("device_id", "initial_device_display_name")
"""What an app may give to the page for the login: "Non-credential parameters valid for the `/login` endpoint"."""


class LoginFallback(msgspec.Struct, frozen=True):
    """The pages to log in, and to make an account."""

    pages: Pages

    @endpoint("GET", "/_matrix/static/client/login", auth=Auth.NONE, limit=Limit.UPDATES)
    async def login_fallback(self, request: Request) -> Response:
        """The page to log in."""
        return self._show("login.html", request)

    @endpoint("GET", "/_matrix/static/client/register", auth=Auth.NONE, limit=Limit.UPDATES)
    async def register_fallback(self, request: Request) -> Response:
        """The page to make an account."""
        return self._show("register.html", request)

    def _show(self, template: str, request: Request) -> Response:
        try:
            given = request.parameters()
        except InvalidParam as error:
            return self.pages.error(error)
        parameters: JsonObject = {name: given[name][0] for name in HANDED_ON if name in given}
        if given.get("refresh_token", [""])[0] == "true":
            parameters["refresh_token"] = True
        return self.pages.show(template, api=self.pages.to(API), parameters=parameters)
