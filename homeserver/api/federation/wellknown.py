"""Server-server API, `wellknown.yaml`: where other servers find this one."""

from urllib.parse import urlsplit

import msgspec

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint

HTTPS_PORT = 443


class Wellknown(msgspec.Struct, frozen=True):
    """Server discovery: the host of `public_base_url`; without one, or without TLS, the server name."""

    server_name: ServerName
    public_base_url: str | None

    @endpoint("GET", "/.well-known/matrix/server", auth=Auth.NONE)
    async def get_well_known(self) -> JsonObject:
        """Where the server-server API is."""
        return {"m.server": delegated_server(self.server_name, self.public_base_url)}


def delegated_server(server_name: ServerName, public_base_url: str | None) -> str:
    """The name and port that federation goes to.

    A port is always given for `public_base_url`: without one other servers would try 8448.
    """
    parts = urlsplit(public_base_url or "")
    if parts.scheme != "https" or parts.hostname is None:
        return server_name
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or HTTPS_PORT}"
