"""URLs that others name, and that this server calls: HTTPS only."""

from typing import Self
from urllib.parse import urlencode, urlsplit

import msgspec

from homeserver.clients.http_transport import Exchange, request_bytes
from homeserver.clients.routes import Route, Target
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName, parse_server_name


class HttpsUrl(msgspec.Struct, frozen=True):
    """A URL: the host, with the port if it is not 443; how to get there; and the path and query to ask for."""

    server_name: ServerName
    route: Route
    target: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Errors: ValueError if it is none, not of HTTPS, or not percent-encoded."""
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
        if parts.scheme != "https" or not host or parts.username is not None:
            raise ValueError("it leads away from HTTPS")
        in_header = f"[{host}]" if ":" in host else host
        try:
            server_name = parse_server_name(in_header if port == 443 else f"{in_header}:{port}")
        except InvalidParam:
            raise ValueError("it leads to no host") from None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("it is not percent-encoded")
        return cls(server_name, Route((Target(host, port),), server_name, host), target)

    def with_query(self, **query: str) -> Self:
        """With this added to the query."""
        separator = "&" if "?" in self.target else "?"
        return msgspec.structs.replace(self, target=f"{self.target}{separator}{urlencode(query)}")

    def get(self, most_bytes: int) -> Exchange:
        """The request for what is there."""
        request = request_bytes("GET", self.target, self.server_name, {"Accept": "application/json"})
        return Exchange(self.server_name, request, most_bytes, is_repeatable=True)
