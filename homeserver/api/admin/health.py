"""For load balancers and supervisors: whether this process can be sent requests."""

import msgspec

from homeserver.core.json import encode
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import JSON_HEADERS, Response
from homeserver.services import health


class Health(msgspec.Struct, frozen=True):
    """`/health`: 200 if the database answers and its schema is current, else 503."""

    health: health.Health

    @endpoint("GET", "/health", auth=Auth.NONE)
    async def get_health(self) -> Response:
        """`{"status": "ok"}`, or what is the matter."""
        problem = await self.health.problem()
        if problem is None:
            return Response(200, JSON_HEADERS, b'{"status":"ok"}')
        return Response(503, JSON_HEADERS, encode({"status": "unavailable", "problem": problem}))
