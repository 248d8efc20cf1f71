"""Client-server API, `device_management.yaml`."""

from tests.api.server import PASSWORD, Client, TestServer, path_of

DELETE_DEVICES = "/_matrix/client/v3/delete_devices"


def proof(user: str = "alice", **more: object) -> dict[str, object]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": PASSWORD,
        **more,
    }


async def login(server: TestServer, device_id: str, user: str = "alice") -> Client:
    body = {
        "type": "m.login.password",
        "user": user,
        "password": PASSWORD,
        "device_id": device_id,
        "initial_device_display_name": f"the {device_id}",
    }
    client = server.anonymous()
    client.access_token = (await server.anonymous().post(path_of("login"), body)).ok()["access_token"]
    return client


async def device_ids(client: Client) -> list[str]:
    return [device["device_id"] for device in (await client.get(path_of("devices"))).ok()["devices"]]


async def test_devices_are_listed_and_named(server: TestServer, alice: Client) -> None:
    await login(server, "phone")
    assert sorted(await device_ids(alice)) == sorted([alice.device_id, "phone"])
    path = path_of("devices", "phone")
    assert (await alice.get(path)).ok() == {"device_id": "phone", "display_name": "the phone"}
    assert (await alice.put(path, {"display_name": "my phone"})).ok() == {}
    assert (await alice.put(path, {})).ok() == {}
    assert (await alice.get(path)).ok()["display_name"] == "my phone"
    own = (await alice.get(path_of("devices", alice.device_id))).ok()
    assert own["last_seen_ip"] == "127.0.0.1"
    assert own["last_seen_ts"] > 0


async def test_unknown_devices_are_not_found(server: TestServer, alice: Client, bob: Client) -> None:
    for device_id in ("unknown", bob.device_id, "a/b?c"):
        path = path_of("devices", device_id)
        (await alice.request("GET", path)).error(404, "M_NOT_FOUND")
        (await alice.request("PUT", path, {"display_name": "x"})).error(404, "M_NOT_FOUND")


async def test_a_device_is_deleted(server: TestServer, alice: Client) -> None:
    phone = await login(server, "phone")
    path = path_of("devices", "phone")
    asked = await alice.delete(path, {})
    assert (asked.status, asked.json["flows"]) == (401, [{"stages": ["m.login.password"]}])
    assert (await alice.delete(path)).status == 401
    assert (await alice.delete(path, {"auth": proof(session=asked.json["session"])})).ok() == {}
    assert await device_ids(alice) == [alice.device_id]
    (await phone.get(path_of("account", "whoami"))).error(401, "M_UNKNOWN_TOKEN")
    # It is no matter if it had been removed previously.
    assert (await alice.delete(path, {"auth": proof()})).ok() == {}


async def test_devices_are_deleted_together(server: TestServer, alice: Client) -> None:
    clients = [await login(server, name) for name in ("a", "b", "c")]
    body = {"devices": ["a", "b", "unknown"]}
    asked = await alice.post(DELETE_DEVICES, body)
    (await alice.post(DELETE_DEVICES, {**body, "auth": proof(session=asked.json["session"])})).ok()
    assert sorted(await device_ids(alice)) == sorted([alice.device_id, "c"])
    statuses = [(await client.get(path_of("account", "whoami"))).status for client in clients]
    assert statuses == [401, 401, 200]


async def test_a_session_is_for_one_device(server: TestServer, alice: Client) -> None:
    for name in ("a", "b"):
        await login(server, name)
    asked = await alice.delete(path_of("devices", "a"), {})
    auth = proof(session=asked.json["session"])
    refused = await alice.request("DELETE", path_of("devices", "b"), {"auth": auth})
    refused.error(403, "M_FORBIDDEN")
    body = {"devices": ["a"], "auth": auth}
    (await alice.request("POST", DELETE_DEVICES, body)).error(403, "M_FORBIDDEN")
    assert {"a", "b"} <= set(await device_ids(alice))


async def test_others_devices_are_out_of_reach(server: TestServer, alice: Client, bob: Client) -> None:
    path = path_of("devices", alice.device_id)
    refused = await bob.request("DELETE", path, {"auth": proof("alice")})
    refused.error(403, "M_FORBIDDEN")
    (await bob.delete(path, {"auth": proof("bob")})).ok()
    assert await device_ids(alice) == [alice.device_id]


async def test_what_is_refused(alice: Client) -> None:
    path = path_of("devices", alice.device_id)
    long = await alice.request("PUT", path, {"display_name": "x" * 300})
    long.error(400, "M_TOO_LARGE")
    (await alice.request("PUT", path, {"display_name": 5})).error(400, "M_BAD_JSON")
    (await alice.request("POST", DELETE_DEVICES, {})).error(400, "M_BAD_JSON")
