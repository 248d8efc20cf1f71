"""Client-server API, `password_management.yaml`."""

from typing import Any

from tests.api.server import PASSWORD, Answer, Client, TestServer, path_of

CHANGE = "/_matrix/client/v3/account/password"


def proof(password: str = PASSWORD, user: str = "alice", **more: object) -> dict[str, object]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        **more,
    }


async def login(server: TestServer, password: str) -> Answer:
    body = {"type": "m.login.password", "user": "alice", "password": password}
    return await server.anonymous().post(path_of("login"), body)


async def session(server: TestServer, password: str = PASSWORD) -> Client:
    client = server.anonymous()
    client.access_token = (await login(server, password)).ok()["access_token"]
    return client


async def test_a_new_password_replaces_the_old(server: TestServer, alice: Client) -> None:
    other = await session(server)
    asked = await alice.post(CHANGE, {"new_password": "changed"})
    assert (asked.status, asked.json["flows"]) == (401, [{"stages": ["m.login.password"]}])
    wrong = proof("wrong", session=asked.json["session"])
    answer = await alice.post(CHANGE, {"new_password": "changed", "auth": wrong})
    assert answer.error(401, "M_FORBIDDEN")["session"] == asked.json["session"]
    right = proof(session=asked.json["session"])
    assert (await alice.post(CHANGE, {"new_password": "changed", "auth": right})).ok() == {}
    (await login(server, PASSWORD)).error(403, "M_FORBIDDEN")
    (await login(server, "changed")).ok()
    # This session goes on, the others do not.
    (await alice.get(path_of("account", "whoami"))).ok()
    (await other.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")


async def test_other_sessions_can_be_kept(server: TestServer, alice: Client) -> None:
    other = await session(server)
    body = {"new_password": "changed", "logout_devices": False, "auth": proof()}
    (await alice.post(CHANGE, body)).ok()
    (await other.get(path_of("account", "whoami"))).ok()


async def test_who_has_no_session_may_know_the_password(server: TestServer, alice: Client) -> None:
    body: dict[str, Any] = {"new_password": "changed", "auth": proof()}
    (await server.anonymous().post(CHANGE, body)).ok()
    (await alice.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    (await login(server, "changed")).ok()


async def test_what_is_refused(server: TestServer, alice: Client, bob: Client) -> None:
    (await alice.post(CHANGE, {"new_password": "", "auth": proof()})).error(400, "M_WEAK_PASSWORD")
    (await alice.request("POST", CHANGE, {})).error(400, "M_BAD_JSON")
    of_bob = {"new_password": "changed", "auth": proof(user="bob")}
    (await alice.post(CHANGE, of_bob)).error(403, "M_FORBIDDEN")
    asked = await alice.post(CHANGE, {"new_password": "one"})
    other = {"new_password": "another", "auth": proof(session=asked.json["session"])}
    (await alice.post(CHANGE, other)).error(403, "M_FORBIDDEN")
    mixed = {"new_password": "one", "auth": proof(user="bob", session=asked.json["session"])}
    (await bob.post(CHANGE, mixed)).error(403, "M_FORBIDDEN")
    stranger = await server.anonymous().request("POST", CHANGE, {"new_password": "x"}, token="wrong")
    stranger.error(401, "M_UNKNOWN_TOKEN")
    (await login(server, PASSWORD)).ok()
