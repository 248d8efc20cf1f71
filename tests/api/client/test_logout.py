"""Client-server API, `logout.yaml`."""

from tests.api.server import PASSWORD, Client, TestServer, path_of


async def another_session(server: TestServer) -> Client:
    body = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    session = (await server.anonymous().post(path_of("login"), body)).ok()
    client = server.anonymous()
    client.access_token = session["access_token"]
    client.device_id = session["device_id"]
    return client


async def test_logging_out_ends_one_session(server: TestServer, alice: Client) -> None:
    other = await another_session(server)
    assert (await other.post(path_of("logout"))).ok() == {}
    answer = await other.get(path_of("account", "whoami"))
    assert not answer.error(401, "M_UNKNOWN_TOKEN").get("soft_logout")
    (await other.post(path_of("logout"))).error(401, "M_UNKNOWN_TOKEN")
    devices = (await alice.get(path_of("devices"))).ok()["devices"]
    assert [device["device_id"] for device in devices] == [alice.device_id]


async def test_logging_out_everywhere_ends_all(server: TestServer, alice: Client) -> None:
    other = await another_session(server)
    bob = await server.user("bob")
    assert (await other.post(path_of("logout", "all"))).ok() == {}
    for client in (alice, other):
        (await client.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    (await bob.get(path_of("account", "whoami"))).ok()
    (device,) = (await (await another_session(server)).get(path_of("devices"))).ok()["devices"]
    assert device["device_id"] not in (alice.device_id, other.device_id)


async def test_who_is_not_logged_in(server: TestServer) -> None:
    for path in (path_of("logout"), path_of("logout", "all")):
        (await server.anonymous().request("POST", path, {})).error(401, "M_MISSING_TOKEN")
