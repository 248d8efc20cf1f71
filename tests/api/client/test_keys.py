"""Client-server API, `keys.yaml`."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import Client, TestServer, path_of
from tests.key_holders import (
    CLAIM,
    QUERY,
    SIGNED,
    UPLOAD,
    Device,
    claim,
    device_of,
    query,
    refused,
    upload,
)


async def test_devices_are_found_by_everybody(server: TestServer, alice: Client, bob: Client) -> None:
    await alice.put(path_of("devices", alice.device_id), {"display_name": "Alice's phone"})
    second = await server.device(alice)
    first_keys, second_keys = device_of(alice).keys(), device_of(second).keys()
    for client, keys in ((alice, first_keys), (second, second_keys)):
        answer = (await client.post(UPLOAD, {"device_keys": keys})).ok()
        assert answer == {"one_time_key_counts": {SIGNED: 0}}
    for reader in (alice, second, bob):
        found = await query(reader, alice.user_id)
        assert found["failures"] == {}
        devices = found["device_keys"][alice.user_id]
        assert devices[alice.device_id].pop("unsigned") == {"device_display_name": "Alice's phone"}
        devices[second.device_id].pop("unsigned", None)
        assert devices == {alice.device_id: first_keys, second.device_id: second_keys}
        assert not any(found[name] for name in ("master_keys", "self_signing_keys", "user_signing_keys"))


async def test_asking_for_some_devices(server: TestServer, alice: Client, bob: Client) -> None:
    second = await server.device(alice)
    for client in (alice, second):
        await upload(client)
    body = {"device_keys": {alice.user_id: [second.device_id, "unknown"], bob.user_id: ["unknown"]}}
    found = (await bob.post(QUERY, body)).ok()["device_keys"]
    assert {user_id: [*devices] for user_id, devices in found.items()} == {
        alice.user_id: [second.device_id],
        bob.user_id: [],
    }


async def test_who_is_not_there_is_left_out(alice: Client, bob: Client) -> None:
    found = await query(alice, "@nobody:test.example", bob.user_id)
    assert found["device_keys"] == {bob.user_id: {}}
    for strange in ("nobody", "@", "@x", "", "@a:b\0"):
        found = (await refused(alice, QUERY, {"device_keys": {strange: []}})).ok()
        assert found["device_keys"] == {}


async def test_an_upload_is_repeated(alice: Client, bob: Client) -> None:
    device = device_of(alice)
    body = {
        "device_keys": device.keys(),
        "one_time_keys": device.one_time_keys("a", "b"),
        "fallback_keys": device.one_time_keys("f", fallback=True),
    }
    for _ in range(3):
        assert (await alice.post(UPLOAD, body)).ok()["one_time_key_counts"] == {SIGNED: 2}
    assert [*await claim(bob, alice)] == [f"{SIGNED}:a"]
    # What has been handed out is not there again.
    assert (await alice.post(UPLOAD, body)).ok()["one_time_key_counts"] == {SIGNED: 1}
    assert (await alice.post(UPLOAD, {})).ok()["one_time_key_counts"] == {SIGNED: 1}


async def test_a_name_stands_for_one_key(alice: Client, bob: Client) -> None:
    device, other = device_of(alice), Device(alice.user_id, alice.device_id, "other")
    await upload(alice, "a")
    body = {"one_time_keys": {**device.one_time_keys("b"), **other.one_time_keys("a")}}
    (await alice.post(UPLOAD, body)).error(400, "M_INVALID_PARAM")
    await claim(bob, alice)
    (await alice.post(UPLOAD, body)).error(400, "M_INVALID_PARAM")
    # Nothing of the request has been done.
    assert (await alice.post(UPLOAD, {})).ok()["one_time_key_counts"] == {SIGNED: 0}


async def test_keys_are_handed_out_once_in_their_order(alice: Client, bob: Client) -> None:
    device = await upload(alice, "z")
    for names in (("y", "x"), ("a",)):
        (await alice.post(UPLOAD, {"one_time_keys": device.one_time_keys(*names)})).ok()
    got = [await claim(bob, alice) for _ in range(5)]
    handed_out = [name.partition(":")[2] for keys in got for name in keys]
    assert (handed_out[0], sorted(handed_out[1:3]), handed_out[3:]) == ("z", ["x", "y"], ["a"])
    assert got[0] == device.one_time_keys("z")
    assert got[4] == {}


async def test_a_fallback_key_is_handed_out_when_nothing_else_is_left(alice: Client, bob: Client) -> None:
    device = await upload(alice, "a", fallback="f")
    fallback = device.one_time_keys("f", fallback=True)
    assert [await claim(bob, alice) for _ in range(3)] == [device.one_time_keys("a"), fallback, fallback]
    replacement = device.one_time_keys("g", fallback=True)
    (await alice.post(UPLOAD, {"fallback_keys": replacement})).ok()
    assert await claim(bob, alice) == replacement
    await alice.post(UPLOAD, {"one_time_keys": device.one_time_keys("b")})
    assert await claim(bob, alice) == device.one_time_keys("b")


async def test_algorithms_are_apart(alice: Client, bob: Client) -> None:
    keys = {"curve25519:a": "one", "org.example:a": "two", "org.example:b": "three"}
    counts = (await alice.post(UPLOAD, {"one_time_keys": keys})).ok()["one_time_key_counts"]
    assert counts == {SIGNED: 0, "curve25519": 1, "org.example": 2}
    assert await claim(bob, alice, "curve25519") == {"curve25519:a": "one"}
    assert await claim(bob, alice, "curve25519") == {}
    assert len(await claim(bob, alice, "org.example")) == 1
    assert await claim(bob, alice) == {}


async def test_claiming_of_many_at_once(server: TestServer, alice: Client, bob: Client) -> None:
    second = await server.device(alice)
    for client in (alice, second, bob):
        await upload(client, "k")
    wanted: dict[str, Any] = {
        alice.user_id: {alice.device_id: SIGNED, second.device_id: SIGNED, "unknown": SIGNED},
        bob.user_id: {bob.device_id: SIGNED},
        "@nobody:test.example": {"X": SIGNED},
    }
    got = (await bob.post(CLAIM, {"one_time_keys": wanted})).ok()
    assert got == {
        "one_time_keys": {
            client.user_id: {
                each.device_id: device_of(each).one_time_keys("k")
                for each in (alice, second, bob)
                if each.user_id == client.user_id
            }
            for client in (alice, bob)
        },
        "failures": {},
    }


async def test_concurrent_claims(server: TestServer, alice: Client) -> None:
    """More than there are keys, at the same moment: each key goes to one, the fallback key to the others."""
    device = await upload(alice, *map(str, range(40)), fallback="f")
    claimants = [await server.user(f"claimant{number}") for number in range(5)]
    claims = [Deferred.fromCoroutine(claim(each, alice)) for each in claimants for _ in range(12)]
    got = await gatherResults(claims)
    names = [name for keys in got for name in keys]
    fallback = f"{SIGNED}:f"
    assert sorted(name for name in names if name != fallback) == sorted(
        device.one_time_keys(*map(str, range(40)))
    )
    assert names.count(fallback) == 20


async def test_the_device_gets_other_keys(alice: Client, bob: Client) -> None:
    """What the old ones have signed is of no use to anybody."""
    await upload(alice, "a", fallback="f")
    other = Device(alice.user_id, alice.device_id, "other")
    answer = (await alice.post(UPLOAD, {"device_keys": other.keys()})).ok()
    assert answer["one_time_key_counts"] == {SIGNED: 0}
    assert await claim(bob, alice) == {}
    found = (await query(bob, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert found["keys"] == other.keys()["keys"]
    # The same names may stand for others now.
    body = {"one_time_keys": other.one_time_keys("a")}
    assert (await alice.post(UPLOAD, body)).ok()["one_time_key_counts"] == {SIGNED: 1}


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"user_id": "@bob:test.example"}, "M_BAD_JSON"),
        ({"device_id": "other"}, "M_BAD_JSON"),
        ({"algorithms": "all"}, "M_BAD_JSON"),
        ({"algorithms": None}, "M_BAD_JSON"),
        ({"keys": {}}, "M_INVALID_SIGNATURE"),
        ({"keys": []}, "M_BAD_JSON"),
        ({"number": 1.5}, "M_BAD_JSON"),
        ({"signatures": {}}, "M_INVALID_SIGNATURE"),
        ({"extra": "x" * 70_000}, "M_BAD_JSON"),
    ],
)
async def test_keys_that_are_refused(alice: Client, changes: dict[str, Any], errcode: str) -> None:
    device = device_of(alice)
    keys = {**device.keys(), **changes} if "signatures" in changes else _try_signing(device, changes)
    (await refused(alice, UPLOAD, {"device_keys": keys})).error(400, errcode)
    assert (await query(alice, alice.user_id))["device_keys"] == {alice.user_id: {}}


def _try_signing(device: Device, changes: dict[str, Any]) -> dict[str, Any]:
    """Signed where that is possible; what is refused for something else first needs no signature."""
    if "number" in changes:
        return {**device.keys(), **changes}
    return device.keys(**changes)


async def test_forged_keys_are_refused(alice: Client, bob: Client) -> None:
    keys = device_of(alice).keys()
    forged = {**keys, "algorithms": ["org.example.weak"]}
    (await alice.post(UPLOAD, {"device_keys": forged})).error(400, "M_INVALID_SIGNATURE")
    (await bob.post(UPLOAD, {"device_keys": keys})).error(400, "M_BAD_JSON")
    named = {**keys["keys"], "ed25519:other": keys["keys"][f"ed25519:{alice.device_id}"]}
    (await alice.post(UPLOAD, {"device_keys": device_of(alice).keys(keys=named)})).error(400, "M_BAD_JSON")


async def test_signatures_of_others_are_not_kept(alice: Client, bob: Client) -> None:
    keys = device_of(alice).keys()
    keys["signatures"][bob.user_id] = {"ed25519:x": "nonsense"}
    keys["signatures"][alice.user_id]["ed25519:unknown"] = "nonsense"
    keys["unsigned"] = {"device_display_name": "nonsense"}
    (await alice.post(UPLOAD, {"device_keys": keys})).ok()
    found = (await query(bob, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    found.pop("unsigned", None)
    assert found == device_of(alice).keys()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("signed_curve25519", {"key": "x", "signatures": {}}),
        (":a", "x"),
        ("signed_curve25519:a", "x"),
        ("signed_curve25519:a", {"key": "x"}),
        ("signed_curve25519:a", {"signatures": {}}),
        ("org.example:a", ["x"]),
        ("org.example:a", None),
        ("org.example:a", {"key": 5}),
        ("org.example:" + "a" * 255, "x"),
        ("org.example:a", {"key": "x", "signatures": {}, "number": 1.5}),
        ("org.example:a", "x" * 5_000),
    ],
)
async def test_one_time_keys_that_are_refused(alice: Client, name: str, key: object) -> None:
    for kind in ("one_time_keys", "fallback_keys"):
        answer = await refused(alice, UPLOAD, {kind: {name: key, "org.example:good": "x"}})
        answer.error(400, "M_BAD_JSON")
    assert (await alice.post(UPLOAD, {})).ok()["one_time_key_counts"] == {SIGNED: 0}


async def test_limits(alice: Client) -> None:
    body = {"one_time_keys": {f"a:{number}": "x" for number in range(1_001)}}
    (await alice.post(UPLOAD, body)).error(400, "M_INVALID_PARAM")
    (await alice.post(UPLOAD, {"fallback_keys": {"a:1": "x", "a:2": "y"}})).error(400, "M_INVALID_PARAM")
    for start in range(0, 5_000, 1_000):
        keys = {f"a:{number}": "x" for number in range(start, start + 1_000)}
        assert (await alice.post(UPLOAD, {"one_time_keys": keys})).ok()["one_time_key_counts"][
            "a"
        ] == start + 1_000
    (await alice.post(UPLOAD, {"one_time_keys": {"b:1": "x"}})).error(400, "M_INVALID_PARAM")


async def test_a_deleted_device_leaves_no_keys(server: TestServer, alice: Client, bob: Client) -> None:
    second = await server.device(alice)
    for client in (alice, second):
        await upload(client, "a", fallback="f")
    (await second.post(path_of("logout"))).ok()
    assert [*(await query(bob, alice.user_id))["device_keys"][alice.user_id]] == [alice.device_id]
    assert await claim(bob, second) == {}
    assert await claim(bob, alice)
    (await alice.post(path_of("logout", "all"))).ok()
    assert (await query(bob, alice.user_id))["device_keys"] == {alice.user_id: {}}
    assert await claim(bob, alice) == {}


async def test_the_remembered_names_are_bounded(
    alice: Client, bob: Client, server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.storage.one_time_keys.MOST_REMEMBERED", 6)
    await upload(alice, *map(str, range(10, 30)))
    got = [name for _ in range(20) for name in await claim(bob, alice)]
    assert got == sorted(got)
    device = device_of(alice)
    newest, oldest = (device.one_time_keys(name.partition(":")[2]) for name in (got[-1], got[0]))
    assert (await alice.post(UPLOAD, {"one_time_keys": newest})).ok()["one_time_key_counts"] == {SIGNED: 0}
    assert (await alice.post(UPLOAD, {"one_time_keys": oldest})).ok()["one_time_key_counts"] == {SIGNED: 1}
