"""Client-server API, `versions.yaml`."""

import json

from homeserver.api.client.versions import Versions
from tests.api.http_harness import serving


async def test_old_and_new_versions_are_listed() -> None:
    async with serving(Versions({"org.example.feature": True})) as server:
        client = await server.connect()
        for headers in ((), ("Authorization: Bearer alice",)):
            reply = await client.get("/_matrix/client/versions", *headers)
            assert reply.status == 200
            answer = json.loads(reply.body)
            assert answer["versions"] == ["r0.6.1", *(f"v1.{minor}" for minor in range(1, 20))]
            assert answer["unstable_features"] == {"org.example.feature": True}
        assert (await client.get("/_matrix/client/versions", "Authorization: Bearer x")).status == 401


async def test_nothing_unstable_is_promised_by_itself() -> None:
    assert (await Versions().get_versions(None)).unstable_features == {}
