"""`/metrics`: what Prometheus collects, on listeners that serve it."""

from collections.abc import Callable

import msgspec

from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import Response

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics(msgspec.Struct, frozen=True):
    """Metrics in Prometheus's text format; `exposition` gives them."""

    exposition: Callable[[], bytes]

    @endpoint("GET", "/metrics", auth=Auth.NONE)
    async def get_metrics(self) -> Response:
        """All metrics of this process."""
        return Response(200, ((b"Content-Type", CONTENT_TYPE),), self.exposition())
