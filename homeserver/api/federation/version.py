"""Server-server API, `version.yaml`: what this server runs."""

from homeserver import __version__
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint

NAME = "homeserver"


class Version:
    """For people who look for the cause of a problem."""

    @endpoint("GET", "/_matrix/federation/v1/version", auth=Auth.NONE)
    async def get_version(self) -> JsonObject:
        """Name and version of the software."""
        return {"server": {"name": NAME, "version": __version__}}
