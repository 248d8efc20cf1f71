"""`/metrics` and `/health`, on the listeners that serve them."""

from pathlib import Path

import treq

from homeserver.config.sections import Listener, Resource
from tests.api.server import running_server
from tests.databases import Databases


async def test_metrics_are_served_where_they_are_asked_for(databases: Databases, tmp_path: Path) -> None:
    listeners = (Listener(port=0), Listener(port=0, resources=(Resource.METRICS,)))
    async with running_server(databases.sqlite(tmp_path), tmp_path, None, listeners=listeners) as running:
        client = running.anonymous()
        (await client.get("/_matrix/client/versions")).ok()
        (await client.get("/metrics")).error(404, "M_UNRECOGNIZED")
        assert (await client.get("/health")).ok() == {"status": "ok"}
        port = running.server.ports[1]
        response = await treq.get(f"http://127.0.0.1:{port}/metrics", persistent=False)
        text = await response.text()
        assert response.code == 200
        counted = (
            'homeserver_http_requests_total{method="GET",route="/_matrix/client/versions",status="200"} 1.0'
        )
        assert counted in text
        assert 'homeserver_federation_received_pdus_total{outcome="stored"} 0.0' in text
        assert 'homeserver_federation_transactions_total{outcome="sent"} 0.0' in text
        unknown = await treq.get(f"http://127.0.0.1:{port}/_matrix/client/versions", persistent=False)
        assert unknown.code == 404
        await unknown.content()
