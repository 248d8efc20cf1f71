"""Client-server API, `cross_signing.yaml`."""

from typing import Any

import pytest

from tests.api.client.test_device_management import login, proof
from tests.api.server import Client, TestServer, path_of
from tests.key_holders import (
    DEVICE_SIGNING,
    SIGNATURES,
    UPLOAD,
    Identity,
    Keys,
    device_of,
    public,
    query,
    refused,
    signed,
    upload,
)

USAGES = ("master", "self_signing", "user_signing")


async def cross_signed(client: Client) -> Identity:
    """Have the user set cross-signing keys."""
    identity = Identity(client.user_id)
    assert (await client.post(DEVICE_SIGNING, identity.upload())).ok() == {}
    return identity


async def shown(reader: Client, user_id: str) -> Keys:
    """The cross-signing keys of a user, as another one gets them."""
    found = await query(reader, user_id)
    return {usage: found[f"{usage}_keys"].get(user_id) for usage in USAGES}


async def failures(client: Client, body: Keys) -> Any:
    return (await refused(client, SIGNATURES, body)).ok()["failures"]


async def test_the_first_keys_need_no_authentication(alice: Client, bob: Client) -> None:
    identity = await cross_signed(alice)
    own = {usage: identity.key(usage) for usage in USAGES}
    assert await shown(alice, alice.user_id) == own
    assert await shown(bob, alice.user_id) == {**own, "user_signing": None}
    # The client repeats its request.
    assert (await alice.post(DEVICE_SIGNING, identity.upload())).ok() == {}
    assert (await alice.post(DEVICE_SIGNING, identity.upload("master"))).ok() == {}
    assert (await alice.post(DEVICE_SIGNING, identity.upload("self_signing"))).ok() == {}


async def test_other_keys_need_authentication(alice: Client, bob: Client) -> None:
    first, second = await cross_signed(alice), Identity(alice.user_id, "second")
    mixed = {
        **first.upload("master"),
        "self_signing_key": first.signed("master", _bare(second, "self_signing")),
    }
    for body in (second.upload(), second.upload("master"), mixed):
        # The specification's description lacks this response.
        asked = await refused(alice, DEVICE_SIGNING, body)
        assert (asked.status, asked.json["flows"]) == (401, [{"stages": ["m.login.password"]}])
    assert await shown(bob, alice.user_id) == {
        "master": first.key("master"),
        "self_signing": first.key("self_signing"),
        "user_signing": None,
    }
    asked = await refused(alice, DEVICE_SIGNING, second.upload("master", "self_signing"))
    auth = proof(session=asked.json["session"])
    body = {**second.upload("master", "self_signing"), "auth": auth}
    assert (await alice.post(DEVICE_SIGNING, body)).ok() == {}
    # What the old master key had signed is gone with it.
    assert await shown(alice, alice.user_id) == {
        "master": second.key("master"),
        "self_signing": second.key("self_signing"),
        "user_signing": None,
    }


def _bare(identity: Identity, usage: str) -> Keys:
    return {name: value for name, value in identity.key(usage).items() if name != "signatures"}


async def test_keys_that_are_refused(alice: Client, bob: Client) -> None:
    identity, other = Identity(alice.user_id), Identity(alice.user_id, "other")
    (await alice.post(DEVICE_SIGNING, identity.upload("self_signing"))).error(400, "M_MISSING_PARAM")
    (await alice.post(DEVICE_SIGNING, {})).error(400, "M_MISSING_PARAM")
    unsigned = {**identity.upload("master"), "self_signing_key": _bare(identity, "self_signing")}
    foreign = {**identity.upload("master"), "user_signing_key": other.key("user_signing")}
    for body in (unsigned, foreign):
        (await alice.post(DEVICE_SIGNING, body)).error(400, "M_INVALID_SIGNATURE")
    (await bob.post(DEVICE_SIGNING, identity.upload())).error(400, "M_BAD_JSON")
    master = identity.key("master")
    for wrong in (
        {**master, "usage": ["self_signing"]},
        {**master, "usage": "master"},
        {**master, "keys": {}},
        {**master, "keys": {"ed25519:x": identity.public("master")}},
        {**master, "keys": {**master["keys"], **other.key("master")["keys"]}},
        {name: value for name, value in master.items() if name != "user_id"},
    ):
        (await refused(alice, DEVICE_SIGNING, {"master_key": wrong})).error(400, "M_BAD_JSON")
    short = {**master, "keys": {"ed25519:abc": "abc"}}
    assert (await refused(alice, DEVICE_SIGNING, {"master_key": short})).status == 400
    assert await shown(alice, alice.user_id) == dict.fromkeys(USAGES)


async def test_a_key_is_not_called_like_a_device(server: TestServer, alice: Client) -> None:
    identity = Identity(alice.user_id)
    for usage in USAGES:
        client = await login(server, identity.public(usage))
        (await alice.post(DEVICE_SIGNING, identity.upload())).error(403, "M_FORBIDDEN")
        (await client.post(path_of("logout"))).ok()
    await cross_signed(alice)
    client = await login(server, identity.public("self_signing"))
    client.user_id, client.device_id = alice.user_id, identity.public("self_signing")
    (await client.post(UPLOAD, {"device_keys": device_of(client).keys()})).error(403, "M_FORBIDDEN")


async def test_the_user_signs_a_device(server: TestServer, alice: Client, bob: Client) -> None:
    second = await server.device(alice)
    identity, device = await cross_signed(alice), await upload(second)
    copy = identity.signed("self_signing", device.keys())
    body = {alice.user_id: {second.device_id: copy}}
    for _ in range(2):
        assert await failures(alice, body) == {}
    found = (await query(bob, alice.user_id))["device_keys"][alice.user_id][second.device_id]
    assert found["signatures"] == copy["signatures"]
    # The device uploads its keys again, and stays signed.
    await upload(second)
    found = (await query(bob, alice.user_id))["device_keys"][alice.user_id][second.device_id]
    assert found["signatures"] == copy["signatures"]


async def test_a_device_signs_the_master_key(alice: Client, bob: Client) -> None:
    identity, device = await cross_signed(alice), await upload(alice)
    copy = device.signed(identity.key("master"))
    assert await failures(alice, {alice.user_id: {identity.public("master"): copy}}) == {}
    for reader in (alice, bob):
        assert (await shown(reader, alice.user_id))["master"] == copy
    # The same key again does not take the signature away.
    assert (await alice.post(DEVICE_SIGNING, identity.upload())).ok() == {}
    assert (await shown(bob, alice.user_id))["master"] == copy


async def test_a_user_signs_another_for_their_own_eyes(
    server: TestServer, alice: Client, bob: Client
) -> None:
    own, other = await cross_signed(alice), await cross_signed(bob)
    second, carol = await server.device(alice), await server.user("carol")
    copy = own.signed("user_signing", other.key("master"))
    assert await failures(alice, {bob.user_id: {other.public("master"): copy}}) == {}
    for reader in (alice, second):
        assert (await shown(reader, bob.user_id))["master"] == copy
    for reader in (bob, carol):
        assert (await shown(reader, bob.user_id))["master"] == other.key("master")
    # With other keys of either, nothing is signed any more.
    new = {**Identity(bob.user_id, "second").upload(), "auth": proof("bob")}
    (await bob.post(DEVICE_SIGNING, new)).ok()
    assert (await shown(alice, bob.user_id))["master"] == Identity(bob.user_id, "second").key("master")


async def test_new_keys_of_the_signer_void_what_they_have_signed(alice: Client, bob: Client) -> None:
    own, other = await cross_signed(alice), await cross_signed(bob)
    copy = own.signed("user_signing", other.key("master"))
    assert await failures(alice, {bob.user_id: {other.public("master"): copy}}) == {}
    new = {**Identity(alice.user_id, "second").upload(), "auth": proof()}
    (await alice.post(DEVICE_SIGNING, new)).ok()
    assert (await shown(alice, bob.user_id))["master"] == other.key("master")


async def test_signatures_that_are_refused(alice: Client, bob: Client) -> None:
    """Each by itself: what is good in the same request is taken."""
    own, other = await cross_signed(alice), await cross_signed(bob)
    device = await upload(alice)
    good = own.signed("self_signing", device.keys())
    altered = own.signed("self_signing", device.keys(algorithms=["org.example.weak"]))
    forged = signed(device.keys(), alice.user_id, own.public("self_signing"), "somebody else")
    for copy in (altered, forged, device.keys()):
        found = await failures(alice, {alice.user_id: {alice.device_id: copy}})
        assert found[alice.user_id][alice.device_id]["errcode"] == "M_INVALID_SIGNATURE"
    body = {
        alice.user_id: {
            alice.device_id: good,
            "unknown": good,
            own.public("master"): own.key("master"),
            own.public("self_signing"): own.key("self_signing"),
        },
        bob.user_id: {
            other.public("master"): other.key("master"),
            other.public("self_signing"): own.signed("user_signing", other.key("self_signing")),
            public("unknown"): own.signed("user_signing", other.key("master")),
        },
        "@nobody:test.example": {"x": {}},
        "nonsense": {"x": {}},
    }
    found = await failures(alice, body)
    codes = {user: {key: error["errcode"] for key, error in of.items()} for user, of in found.items()}
    assert codes == {
        alice.user_id: {
            "unknown": "M_NOT_FOUND",
            own.public("master"): "M_INVALID_SIGNATURE",
            own.public("self_signing"): "M_NOT_FOUND",
        },
        bob.user_id: {
            other.public("master"): "M_INVALID_SIGNATURE",
            other.public("self_signing"): "M_NOT_FOUND",
            public("unknown"): "M_NOT_FOUND",
        },
        "@nobody:test.example": {"x": "M_NOT_FOUND"},
        "nonsense": {"x": "M_INVALID_PARAM"},
    }
    found = (await query(bob, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert found["signatures"] == good["signatures"]


async def test_who_has_no_keys_cannot_sign(alice: Client, bob: Client) -> None:
    device, other = await upload(alice), await cross_signed(bob)
    nobody = Identity(alice.user_id)
    found = await failures(
        alice,
        {
            alice.user_id: {alice.device_id: nobody.signed("self_signing", device.keys())},
            bob.user_id: {other.public("master"): nobody.signed("user_signing", other.key("master"))},
        },
    )
    assert {error["errcode"] for of in found.values() for error in of.values()} == {"M_INVALID_SIGNATURE"}


@pytest.mark.parametrize("body", [[], {"@a:b": []}, {"@a:b": {"x": "y"}}])
async def test_malformed_signatures(alice: Client, body: object) -> None:
    (await refused(alice, SIGNATURES, body)).error(400, "M_BAD_JSON")
