"""Server-server API, `wellknown.yaml`."""

import json

import pytest

from homeserver.api.federation.wellknown import Wellknown
from homeserver.core.identifiers import ServerName, parse_server_name
from tests.api.http_harness import serving


@pytest.mark.parametrize(
    ("public_base_url", "delegated"),
    [
        ("https://matrix.example.org", "matrix.example.org:443"),
        ("https://matrix.example.org/path", "matrix.example.org:443"),
        ("https://Matrix.Example.org:8448", "matrix.example.org:8448"),
        ("https://[2001:db8::1]:8448", "[2001:db8::1]:8448"),
        ("http://localhost:8008", "example.org:1234"),
        (None, "example.org:1234"),
    ],
)
async def test_where_federation_goes(public_base_url: str | None, delegated: str) -> None:
    async with serving(Wellknown(ServerName("example.org:1234"), public_base_url)) as server:
        reply = await (await server.connect()).get("/.well-known/matrix/server")
    assert reply.status == 200
    assert json.loads(reply.body) == {"m.server": delegated}
    parse_server_name(delegated)
