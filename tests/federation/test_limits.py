"""Rate limits of other servers: each has its own."""

from homeserver.config.sections import Bucket, RateLimits
from tests.federation.harness import Servers
from tests.federation.peer import Peer, federation

BURST = 3


async def test_a_server_that_asks_too_often_is_told_so(
    servers: Servers, peer: Peer, numeric_peer: Peer
) -> None:
    limited = await servers.start(rate_limits=RateLimits(federation=Bucket(per_second=0.001, burst=BURST)))
    path, query = federation("v1", "publicRooms"), {"limit": "1"}
    for _ in range(BURST):
        (await peer.request("GET", limited.server_name, path, query=query)).ok()
    refused = await peer.request("GET", limited.server_name, path, query=query)
    assert refused.error(429, "M_LIMIT_EXCEEDED")["retry_after_ms"] > 0
    assert int(refused.headers["retry-after"]) > 0
    (await numeric_peer.request("GET", limited.server_name, path, query=query)).ok()
