"""Client-server API, `wellknown.yaml`."""

import json

from homeserver.api.client.wellknown import Wellknown
from tests.api.http_harness import serving


async def test_the_configured_address_is_given_to_everybody() -> None:
    async with serving(Wellknown("https://matrix.example.org")) as server:
        reply = await (await server.connect()).get("/.well-known/matrix/client")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "*"
    assert json.loads(reply.body) == {"m.homeserver": {"base_url": "https://matrix.example.org"}}


async def test_without_one_there_is_nothing_to_discover() -> None:
    async with serving(Wellknown(None)) as server:
        reply = await (await server.connect()).get("/.well-known/matrix/client")
    assert reply.status == 404
    assert json.loads(reply.body)["errcode"] == "M_NOT_FOUND"
