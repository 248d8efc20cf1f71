"""Where a browser goes on to after a login by SSO, and what it takes along.

Anybody can have a browser begin, with any URI: nothing vouches for it but the person who is asked.
Spec: client-server API, "Client login via SSO".
"""

import re
from typing import Final, Self
from urllib.parse import unquote_plus, urlencode

import msgspec

from homeserver.core.errors import InvalidParam

MAX_URI: Final = 2_048

LOGIN_TOKEN: Final = "loginToken"  # noqa: S105 - the name of a parameter

_URI = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_WEB = re.compile(
    rf"(?P<scheme>https?)://(?P<host>(?:{_LABEL}\.)*{_LABEL}|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?(?:[/?#].*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):.*")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

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


class SsoRedirect(msgspec.Struct, frozen=True):
    """The `redirectUrl` of a client; `host` is that of a site, None for an app on the same device."""

    uri: str
    host: str | None
    form_source: str
    """What a form leads to that leads there, as a source of a Content Security Policy."""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Errors: InvalidParam if it cannot be where a client waits."""
        if len(uri) > MAX_URI or not _URI.fullmatch(uri):
            raise InvalidParam(
                "Your app has not said properly where it is reached: `redirectUrl` is not a URI"
            )
        web = _WEB.fullmatch(uri)
        if web is not None:
            return cls(uri, _site(web["host"]), _source(web["scheme"], web["host"], web["port"]))
        named = _SCHEME.fullmatch(uri)
        scheme = "" if named is None else named["scheme"].lower()
        # Brackets are for addresses of IPv6; elsewhere parsers differ in what they make of them.
        if not scheme or scheme in _NO_APPS or {"[", "]"} & {*uri}:
            raise InvalidParam(
                "Your app has not said properly where it is reached: no app is at `redirectUrl`"
            )
        return cls(uri, None, f"{scheme}:")

    def with_token(self, token: str) -> str:
        """The URI with the login token, and no other one.

        Spec: "If it already includes one or more `loginToken` parameters, they should be removed before adding the
        new one".
        """
        before, hash_sign, fragment = self.uri.partition("#")
        path, _, query = before.partition("?")
        kept = [part for part in query.split("&") if part and not _is_token(part)]
        return f"{path}?{'&'.join([*kept, urlencode({LOGIN_TOKEN: token})])}{hash_sign}{fragment}"


def _site(host: str) -> str | None:
    host = host.lower()
    return None if host in _LOOPBACK else host


def _source(scheme: str, host: str, port: str | None) -> str:
    if host.startswith("["):  # which that grammar has no place for
        return f"{scheme.lower()}:"
    return f"{scheme}://{host}".lower() + ("" if port is None else f":{port}")


def _is_token(part: str) -> bool:
    return unquote_plus(part.partition("=")[0]) == LOGIN_TOKEN
