"""Keys of users of another server, as clients ask for them: client-server API, "End-to-end encryption"."""

from typing import Any

import attrs
import pytest

from tests.api.server import Client, path_of
from tests.federation.conftest import Two
from tests.federation.devices import keeps
from tests.federation.harness import cut, mend, until
from tests.federation.meetings import join_via, sees
from tests.key_holders import (
    CHANGES,
    CLAIM,
    DEVICE_SIGNING,
    QUERY,
    SIGNATURES,
    SIGNED,
    Identity,
    Keys,
    claim,
    device_of,
    query,
    upload,
)


@attrs.frozen
class Pair:
    """Alice of one server, Bob of the other, in an encrypted room."""

    two: Two
    alice: Client
    bob: Client
    room_id: str


@pytest.fixture
async def pair(two: Two) -> Pair:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = await alice.create_room(preset="public_chat", initial_state=[encryption])
    await join_via(bob, room_id, two.one)
    await sees(alice, room_id, bob.user_id, "join")
    return Pair(two, alice, bob, room_id)


async def changed(client: Client, since: str, user_id: str) -> str:
    """Sync until the user is among those whose devices have changed; gives the next token."""
    while True:
        answer = await client.sync(since, timeout=20_000)
        since = answer["next_batch"]
        if user_id in answer.get("device_lists", {}).get("changed", []):
            return since


async def give_identity(client: Client, identity: Identity) -> None:
    (await client.post(DEVICE_SIGNING, identity.upload())).ok()


async def test_keys_are_queried_across_servers(pair: Pair) -> None:
    """With the name of the device for users here, and without for others."""
    device = await upload(pair.bob)
    identity = Identity(pair.bob.user_id)
    await give_identity(pair.bob, identity)
    path = path_of("devices", pair.bob.device_id)
    (await pair.bob.put(path, {"display_name": "Bob's private telephone"})).ok()

    async def is_known() -> Any:
        found = await query(pair.alice, pair.bob.user_id, "@nobody:" + pair.two.other.server_name)
        assert found["failures"] == {}
        return found if found["master_keys"] else None

    found = await until(is_known, what="Bob's keys")
    assert found["device_keys"][pair.bob.user_id] == {pair.bob.device_id: device.keys()}
    assert found["master_keys"] == {pair.bob.user_id: identity.key("master")}
    assert found["self_signing_keys"] == {pair.bob.user_id: identity.key("self_signing")}
    assert found["user_signing_keys"] == {}
    own = await query(pair.bob, pair.bob.user_id)
    assert own["user_signing_keys"] == {pair.bob.user_id: identity.key("user_signing")}


async def test_one_time_keys_are_claimed_across_servers_and_then_the_fallback_key(pair: Pair) -> None:
    """Each once, in the order of upload; the owner is told what is left."""
    device = await upload(pair.bob, "1", "2", fallback="F")
    since = (await pair.bob.sync())["next_batch"]
    keys = {**device.one_time_keys("1", "2"), **device.one_time_keys("F", fallback=True)}
    for key_id in ("1", "2", "F", "F"):
        name = f"{SIGNED}:{key_id}"
        assert await claim(pair.alice, pair.bob) == {name: keys[name]}
    answer = await pair.bob.sync(since)
    assert answer["device_one_time_keys_count"][SIGNED] == 0
    assert answer["device_unused_fallback_key_types"] == []
    # A device without any, and one that there is not.
    other = await pair.two.other.running.device(pair.bob)
    await upload(other)
    assert await claim(pair.alice, other) == {}
    wanted = {pair.bob.user_id: {"NONE": SIGNED}}
    answer = (await pair.alice.post(CLAIM, {"one_time_keys": wanted})).ok()
    assert (answer["one_time_keys"].get(pair.bob.user_id, {}), answer["failures"]) == ({}, {})


async def test_a_server_that_is_away_is_named(pair: Pair) -> None:
    """What is known of its users, who are followed, is shown all the same."""
    device = await upload(pair.bob, "1")

    async def is_known() -> bool:
        found = await query(pair.alice, pair.bob.user_id)
        return bool(found["device_keys"].get(pair.bob.user_id) == {pair.bob.device_id: device.keys()})

    await until(is_known, what="Bob's device")
    # What is on its way about his devices comes before this.
    await pair.bob.send(pair.room_id, "here I am")

    async def has_come() -> bool:
        return "here I am" in await pair.alice.messages_in(pair.room_id)

    await until(has_come, what="Bob's message")
    await keeps(pair.two.one, pair.bob.user_id, pair.bob.device_id)
    cut(pair.two.one, pair.two.other)
    assert await is_known()
    wanted = {"one_time_keys": {pair.bob.user_id: {pair.bob.device_id: SIGNED}}, "timeout": 2000}
    answer = (await pair.alice.post(CLAIM, wanted)).ok()
    assert ({*answer["failures"]}, answer["one_time_keys"]) == ({pair.two.other.server_name}, {})
    stranger = f"@stranger:{pair.two.other.server_name}"
    answer = (await pair.alice.post(QUERY, {"device_keys": {stranger: []}, "timeout": 2000})).ok()
    assert ({*answer["failures"]}, answer["device_keys"]) == ({pair.two.other.server_name}, {})
    mend(pair.two.one, pair.two.other)


async def test_clients_are_told_of_changes_on_the_other_server(pair: Pair) -> None:
    """A new device, other keys, a logout, a departure, and a return."""
    alice, bob = pair.alice, pair.bob
    start = since = (await alice.sync())["next_batch"]
    await upload(bob)
    since = await changed(alice, since, bob.user_id)
    tablet = await pair.two.other.running.device(bob)
    await upload(tablet)
    since = await changed(alice, since, bob.user_id)
    await give_identity(bob, Identity(bob.user_id))
    since = await changed(alice, since, bob.user_id)
    (await tablet.post(path_of("logout"))).ok()
    since = await changed(alice, since, bob.user_id)

    async def is_known() -> bool:
        return {*(await query(alice, bob.user_id))["device_keys"][bob.user_id]} == {bob.device_id}

    await until(is_known, what="that the tablet is gone")
    between = (await alice.get(CHANGES, **{"from": start, "to": since})).ok()
    assert between == {"changed": [bob.user_id], "left": []}
    await bob.leave(pair.room_id)
    await sees(alice, pair.room_id, bob.user_id, "leave")
    answer = await alice.sync(since)
    assert answer["device_lists"]["left"] == [bob.user_id]
    since = answer["next_batch"]
    await join_via(bob, pair.room_id, pair.two.one)
    await changed(alice, since, bob.user_id)


async def test_what_alice_has_signed_of_bob_is_for_her_eyes(pair: Pair) -> None:
    """Verifying somebody of another server: the signature by the user-signing key on Bob's master key."""
    alice, bob = pair.alice, pair.bob
    mine, his = Identity(alice.user_id), Identity(bob.user_id)
    await upload(alice)
    await upload(bob)
    await give_identity(alice, mine)
    await give_identity(bob, his)

    async def has_master() -> bool:
        return bool((await query(alice, bob.user_id))["master_keys"])

    await until(has_master, what="Bob's master key")
    signed = signed_by(mine, his.key("master"))
    body = {bob.user_id: {his.public("master"): signed}}
    assert (await alice.post(SIGNATURES, body)).ok()["failures"] == {}
    shown = (await query(alice, bob.user_id))["master_keys"][bob.user_id]
    assert shown["signatures"] == {alice.user_id: signed["signatures"][alice.user_id]}
    for other in (bob, await pair.two.one.user("carol")):
        shown = (await query(other, bob.user_id))["master_keys"][bob.user_id]
        assert alice.user_id not in shown.get("signatures", {})
    # A signature on a key that Bob does not have is none of his.
    stale = Identity(bob.user_id, "old")
    body = {bob.user_id: {stale.public("master"): signed_by(mine, stale.key("master"))}}
    failures = (await alice.post(SIGNATURES, body)).ok()["failures"]
    assert failures[bob.user_id][stale.public("master")]["errcode"] == "M_NOT_FOUND"


async def test_a_device_that_is_signed_later_is_seen_so(pair: Pair) -> None:
    """Bob's self-signing key signs a device that Alice knows already."""
    alice, bob = pair.alice, pair.bob
    his = Identity(bob.user_id)
    await upload(bob)
    await give_identity(bob, his)
    await until(lambda: is_shown(alice, bob, signed=False), what="Bob's device")
    since = (await alice.sync())["next_batch"]
    device = his.signed("self_signing", device_of(bob).keys())
    assert (await bob.post(SIGNATURES, {bob.user_id: {bob.device_id: device}})).ok()["failures"] == {}
    await changed(alice, since, bob.user_id)
    await until(lambda: is_shown(alice, bob, signed=True), what="the signature")


def signed_by(identity: Identity, key: Keys) -> Keys:
    return identity.signed("user_signing", key)


async def is_shown(client: Client, of: Client, *, signed: bool) -> bool:
    """Whether the client is shown the device with its own signature, and with the self-signing key's or not."""
    devices = (await query(client, of.user_id))["device_keys"].get(of.user_id, {})
    if of.device_id not in devices:
        return False
    by = {*devices[of.device_id]["signatures"][of.user_id]}
    assert f"ed25519:{of.device_id}" in by
    return (f"ed25519:{Identity(of.user_id).public('self_signing')}" in by) == signed
