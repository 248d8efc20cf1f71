"""Server-server API, `keys_server.yaml`: this server's own keys."""

import msgspec

from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.own_keys import OwnKeys


class KeysServer(msgspec.Struct, frozen=True):
    """What others check this server's signatures with."""

    own_keys: OwnKeys

    @endpoint("GET", "/_matrix/key/v2/server", auth=Auth.NONE, limit=Limit.FEDERATION)
    async def get_server_key(self) -> JsonObject:
        """The current key, and those of the past."""
        return self.own_keys.response()
