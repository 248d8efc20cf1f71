"""Client-server API, `wellknown.yaml`: where clients find the server."""

import attrs

from homeserver.core.errors import NotFound
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint


@attrs.frozen
class Wellknown:
    """Server discovery; `public_base_url` is `None` if the operator has not configured it."""

    public_base_url: str | None

    @endpoint("GET", "/.well-known/matrix/client", auth=Auth.NONE)
    async def get_wellknown(self) -> JsonObject:
        """Where the client-server API is."""
        if self.public_base_url is None:
            raise NotFound("No server discovery information available.")
        return {"m.homeserver": {"base_url": self.public_base_url}}
