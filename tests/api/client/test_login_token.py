"""Client-server API, `login_token.yaml`."""

from tests.api.server import PASSWORD, Client, TestServer

GET_TOKEN = "/_matrix/client/v1/login/get_token"
LOGIN = "/_matrix/client/v3/login"


async def test_one_client_lets_another_in(server: TestServer, alice: Client) -> None:
    asked = await alice.post(GET_TOKEN)
    assert asked.status == 401
    assert asked.json["flows"] == [{"stages": ["m.login.password"]}]
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": alice.user_id},
        "password": PASSWORD,
        "session": asked.json["session"],
    }
    made = (await alice.post(GET_TOKEN, {"auth": auth})).ok()
    assert made["expires_in_ms"] == 120_000
    body = {"type": "m.login.token", "token": made["login_token"]}
    session = (await server.anonymous().post(LOGIN, body)).ok()
    assert session["user_id"] == alice.user_id
    assert session["device_id"] != alice.device_id
    (await server.anonymous().post(LOGIN, body)).error(403, "M_FORBIDDEN")


async def test_each_token_needs_its_own_proof(alice: Client) -> None:
    asked = await alice.post(GET_TOKEN)
    auth = {
        "type": "m.login.password",
        "user": alice.user_id,
        "password": PASSWORD,
        "session": asked.json["session"],
    }
    (await alice.post(GET_TOKEN, {"auth": auth})).ok()
    assert (await alice.post(GET_TOKEN, {"auth": {"session": asked.json["session"]}})).status == 401


async def test_nobody_gets_no_token(server: TestServer) -> None:
    (await server.anonymous().request("POST", GET_TOKEN, {})).error(401, "M_MISSING_TOKEN")
