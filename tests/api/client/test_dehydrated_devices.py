"""Dehydrated devices, MSC3814."""

from typing import Any

import pytest

from tests.api.client.test_device_management import device_ids, proof
from tests.api.server import PASSWORD, Client, TestServer, path_of
from tests.key_holders import SIGNED, Device, Keys, claim, query

PREFIX = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
DATA = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "a pickle", "nonce": "a nonce"}


def body_of(device: Device, *key_ids: str, **more: Any) -> Keys:
    return {
        "device_id": device.device_id,
        "device_data": DATA,
        "device_keys": device.keys(dehydrated=True),
        "initial_device_display_name": "Dehydrated device",
        "one_time_keys": device.one_time_keys(*key_ids),
        "fallback_keys": device.one_time_keys("f", fallback=True),
        **more,
    }


async def dehydrate(client: Client, device_id: str = "DEHYDRATED", *key_ids: str) -> Device:
    device = Device(client.user_id, device_id)
    assert (await client.put(PREFIX, body_of(device, *key_ids))).ok() == {"device_id": device_id}
    return device


async def send(sender: Client, receiver: Client, device_id: str, text: str) -> None:
    path = path_of("sendToDevice", "org.example.test", text)
    (await sender.put(path, {"messages": {receiver.user_id: {device_id: {"text": text}}}})).ok()


async def messages(client: Client, device_id: str = "DEHYDRATED") -> list[str]:
    """All of what has been sent to the device, in parts."""
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = (await client.get(f"{PREFIX}/{device_id}/events", **token)).ok()
        found += [event["content"]["text"] for event in answer["events"]]
        if "next_batch" not in answer:
            return found
        token = {"from": answer["next_batch"]}


async def test_a_device_is_set_found_and_deleted(alice: Client, bob: Client) -> None:
    (await alice.get(PREFIX)).error(404, "M_NOT_FOUND")
    (await alice.delete(PREFIX)).error(404, "M_NOT_FOUND")
    device = await dehydrate(alice, "DEHYDRATED", "a")
    assert (await alice.get(PREFIX)).ok() == {"device_id": "DEHYDRATED", "device_data": DATA}
    (await bob.get(PREFIX)).error(404, "M_NOT_FOUND")
    shown = (await query(bob, alice.user_id))["device_keys"][alice.user_id]["DEHYDRATED"]
    assert shown.pop("unsigned") == {"device_display_name": "Dehydrated device"}
    assert shown == device.keys(dehydrated=True)
    assert sorted(await device_ids(alice)) == sorted([alice.device_id, "DEHYDRATED"])
    assert (await alice.delete(PREFIX)).ok() == {"device_id": "DEHYDRATED"}
    (await alice.get(PREFIX)).error(404, "M_NOT_FOUND")
    assert await device_ids(alice) == [alice.device_id]
    assert (await query(bob, alice.user_id))["device_keys"][alice.user_id] == {}


async def test_there_is_one(alice: Client, bob: Client) -> None:
    await dehydrate(alice, "ONE", "a")
    await dehydrate(alice, "TWO", "b")
    assert sorted(await device_ids(alice)) == sorted([alice.device_id, "TWO"])
    assert (await alice.get(PREFIX)).ok()["device_id"] == "TWO"
    body = {"one_time_keys": {alice.user_id: {"ONE": SIGNED, "TWO": SIGNED}}}
    claimed = (await bob.post(path_of("keys", "claim"), body)).ok()["one_time_keys"]
    assert [*claimed[alice.user_id]] == ["TWO"]


async def test_what_is_sent_to_it_is_kept(alice: Client, bob: Client) -> None:
    await dehydrate(alice)
    assert await messages(alice) == []
    for number in range(250):
        await send(bob, alice, "DEHYDRATED", str(number))
    for _ in range(2):
        assert await messages(alice) == [*map(str, range(250))]
    # The same device again keeps them, another one begins anew.
    await dehydrate(alice)
    assert len(await messages(alice)) == 250
    await dehydrate(alice, "OTHER")
    (await alice.get(f"{PREFIX}/DEHYDRATED/events")).error(404, "M_NOT_FOUND")
    assert await messages(alice, "OTHER") == []
    for device_id in (alice.device_id, "unknown"):
        (await alice.get(f"{PREFIX}/{device_id}/events")).error(404, "M_NOT_FOUND")
    (await bob.get(f"{PREFIX}/OTHER/events")).error(404, "M_NOT_FOUND")


async def test_clients_that_ask_by_post(alice: Client, bob: Client) -> None:
    await dehydrate(alice)
    for number in range(120):
        await send(bob, alice, "DEHYDRATED", str(number))
    found: list[str] = []
    body: dict[str, str] = {}
    while True:
        answer = (await alice.post(f"{PREFIX}/DEHYDRATED/events", body)).ok()
        if not answer["events"]:
            break
        found += [event["content"]["text"] for event in answer["events"]]
        body = {"next_batch": answer["next_batch"]}
    assert found == [*map(str, range(120))]


async def test_what_ends_it(server: TestServer, alice: Client) -> None:
    await dehydrate(alice)
    body = {"new_password": PASSWORD, "auth": proof()}
    (await alice.post(path_of("account", "password"), body)).ok()
    assert (await alice.get(PREFIX)).ok()["device_id"] == "DEHYDRATED"
    (await alice.delete(path_of("devices", "DEHYDRATED"), {"auth": proof()})).ok()
    (await alice.get(PREFIX)).error(404, "M_NOT_FOUND")
    await dehydrate(alice)
    second = await server.device(alice)
    (await alice.post(path_of("logout"))).ok()
    assert (await second.get(PREFIX)).ok()["device_id"] == "DEHYDRATED"
    (await second.post(path_of("logout", "all"))).ok()
    third = await server.device(alice)
    (await third.get(PREFIX)).error(404, "M_NOT_FOUND")


async def test_it_is_no_other_device(server: TestServer, alice: Client) -> None:
    second = await server.device(alice)
    for client in (alice, second):
        body = body_of(Device(alice.user_id, client.device_id))
        (await alice.put(PREFIX, body)).error(400, "M_INVALID_PARAM")
    (await second.get(path_of("account", "whoami"))).ok()


async def test_claims(alice: Client, bob: Client) -> None:
    device = await dehydrate(alice, "DEHYDRATED", "a")
    alice.device_id = "DEHYDRATED"
    assert await claim(bob, alice) == device.one_time_keys("a")
    assert await claim(bob, alice) == device.one_time_keys("f", fallback=True)


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"device_id": "OTHER"}, "M_BAD_JSON"),
        ({"device_id": ""}, "M_INVALID_PARAM"),
        ({"device_id": "x" * 300}, "M_INVALID_PARAM"),
        ({"device_data": {}}, "M_BAD_JSON"),
        ({"device_data": {"algorithm": "a", "x": "x" * 70_000}}, "M_TOO_LARGE"),
        ({"device_data": "text"}, "M_BAD_JSON"),
        ({"device_keys": None}, "M_BAD_JSON"),
        ({"device_keys": {}}, "M_BAD_JSON"),
        ({"one_time_keys": {"x": {}}}, "M_BAD_JSON"),
        ({"initial_device_display_name": "x" * 300}, "M_TOO_LARGE"),
    ],
)
async def test_what_is_refused(alice: Client, change: Keys, errcode: str) -> None:
    body = body_of(Device(alice.user_id, "DEHYDRATED"), **change)
    answer = await alice.put(PREFIX, body)
    assert answer.status in (400, 413), answer
    assert answer.json["errcode"] == errcode
    (await alice.get(PREFIX)).error(404, "M_NOT_FOUND")


@pytest.mark.parametrize("token", ["x", "s"])
async def test_malformed_tokens(alice: Client, token: str) -> None:
    await dehydrate(alice)
    (await alice.get(f"{PREFIX}/DEHYDRATED/events", **{"from": token})).error(400, "M_INVALID_PARAM")
