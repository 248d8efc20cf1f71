"""Where a browser goes on to after a login by SSO, and what it takes along.

Anybody can have a browser begin, with any URI: nothing vouches for it but the person who is asked.
Spec: client-server API, "Client login via SSO".
"""

from typing import Final
from urllib.parse import unquote_plus, urlencode

from homeserver.core.errors import InvalidParam
from homeserver.core.redirect_uris import is_uri, scheme_of, site_of

LOGIN_TOKEN: Final = "loginToken"  # noqa: S105 - the name of a parameter

_NO_APPS: Final = frozenset(
    {
        "about",
        "blob",
        "chrome",
        "data",
        "file",
        "filesystem",
        "ftp",
        "http",
        "https",
        "intent",
        "javascript",
        "mailto",
        "resource",
        "sms",
        "tel",
        "vbscript",
        "view-source",
        "ws",
        "wss",
    }
)
"""Schemes by which no app is reached that could log in; some would have the browser itself do something."""


def check_redirect_url(uri: str) -> None:
    """Whether a client can wait there, on a site or in an app. Errors: InvalidParam."""
    # RFC 3986 has one `#`, but browsers take more, and apps that show a room by its alias have two: `/#/room/#...`.
    if not is_uri(uri.replace("#", "/")):
        raise InvalidParam("Your app has not said properly where it is reached: `redirectUrl` is not a URI")
    if site_of(uri) is not None:
        return
    scheme = scheme_of(uri)
    # Brackets are for addresses of IPv6; elsewhere parsers differ in what they make of them.
    if scheme is None or scheme in _NO_APPS or {"[", "]"} & {*uri}:
        raise InvalidParam("Your app has not said properly where it is reached: no app is at `redirectUrl`")


def with_token(uri: str, token: str) -> str:
    """The URI with the login token, and no other one.

    Spec: "If it already includes one or more `loginToken` parameters, they should be removed before adding the new
    one".
    """
    before, hash_sign, fragment = uri.partition("#")
    path, _, query = before.partition("?")
    kept = [part for part in query.split("&") if part and not _is_token(part)]
    return f"{path}?{'&'.join([*kept, urlencode({LOGIN_TOKEN: token})])}{hash_sign}{fragment}"


def _is_token(part: str) -> bool:
    return unquote_plus(part.partition("=")[0]) == LOGIN_TOKEN
