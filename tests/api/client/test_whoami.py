"""Client-server API, `whoami.yaml`."""

from tests.api.server import Client, TestServer

WHOAMI = "/_matrix/client/v3/account/whoami"


async def test_a_token_says_whose_it_is(alice: Client) -> None:
    answer = (await alice.get(WHOAMI)).ok()
    assert answer == {"user_id": "@alice:test.example", "device_id": alice.device_id}


async def test_no_token_and_a_wrong_one(server: TestServer) -> None:
    (await server.anonymous().get(WHOAMI)).error(401, "M_MISSING_TOKEN")
    wrong = await server.anonymous().request("GET", WHOAMI, token="wrong")
    wrong.error(401, "M_UNKNOWN_TOKEN")
    assert not wrong.json.get("soft_logout")
