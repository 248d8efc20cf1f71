"""Client-server API, `voip.yaml`: servers to relay calls over."""

import msgspec

from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.turn_servers import TurnServers


class TurnServerResponse(msgspec.Struct):
    """A login at TURN servers; `ttl` in seconds."""

    username: str
    password: str
    uris: list[str]
    ttl: int


class Voip(msgspec.Struct, frozen=True):
    """The endpoint of TURN servers."""

    turn_servers: TurnServers

    @endpoint("GET", "/_matrix/client/v3/voip/turnServer", auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def get_turn_server(self, requester: Requester) -> TurnServerResponse:
        """A login."""
        login = self.turn_servers.login(requester)
        return TurnServerResponse(login.username, login.password, list(login.uris), login.ttl_s)
