"""Client-server API, "Extensions to /sync" of end-to-end encryption, and `GET /keys/changes`."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.api.client.test_device_management import proof
from tests.api.server import PASSWORD, Client, TestServer, path_of, room_path
from tests.key_holders import (
    CHANGES,
    DEVICE_SIGNING,
    SIGNATURES,
    SIGNED,
    UPLOAD,
    Identity,
    claim,
    device_of,
    upload,
)

COUNTS = ("device_one_time_keys_count", "device_unused_fallback_key_types")
ENCRYPTION = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
ENCRYPTED: dict[str, Any] = {"preset": "public_chat", "initial_state": [{**ENCRYPTION, "state_key": ""}]}


async def lists(client: Client, since: str) -> tuple[list[str], list[str], str]:
    """Who has changed and who has left since then, by sync, and the next token; `/keys/changes` must agree."""
    answer = await client.sync(since)
    told = answer.get("device_lists", {})
    changes = (await client.get(CHANGES, **{"from": since, "to": answer["next_batch"]})).ok()
    assert changes == {"changed": told.get("changed", []), "left": told.get("left", [])}
    return told.get("changed", []), told.get("left", []), answer["next_batch"]


async def now(client: Client) -> str:
    token: str = (await client.sync())["next_batch"]
    return token


async def waits(client: Client, since: str, **query: Any) -> "Deferred[Any]":
    """A sync that waits, if need be more than once: for whatever is not about who is online."""

    presence_alone = {"next_batch", "presence", *COUNTS}

    async def news() -> Any:
        token = since
        while True:
            answer = await client.sync(token, timeout=30_000, **query)
            if answer.keys() != presence_alone:
                return answer
            token = answer["next_batch"]

    return Deferred.fromCoroutine(news())


async def shared_room(alice: Client, bob: Client, **options: Any) -> str:
    room_id = await alice.create_room(**{**ENCRYPTED, **options})
    await bob.join(room_id)
    return room_id


async def test_the_first_answer_has_no_lists(alice: Client, bob: Client) -> None:
    await shared_room(alice, bob)
    await upload(bob)
    assert "device_lists" not in await alice.sync()


async def test_those_who_share_a_room_hear_of_new_keys(
    server: TestServer, alice: Client, bob: Client
) -> None:
    carol = await server.user("carol")
    await shared_room(alice, bob, initial_state=[])
    tokens = {client.user_id: await now(client) for client in (carol, bob, alice)}
    waiting = await waits(alice, tokens[alice.user_id])
    await upload(bob)
    assert (await waiting)["device_lists"] == {"changed": [bob.user_id], "left": []}
    # The user's own devices, too; strangers not.
    changed, left, token = await lists(bob, tokens[bob.user_id])
    assert (changed, left) == ([bob.user_id], [])
    assert (await lists(carol, tokens[carol.user_id]))[:2] == ([], [])
    # The same keys again are no news.
    await upload(bob)
    assert (await lists(bob, token))[:2] == ([], [])


NO_TIMELINE: dict[str, Any] = {"room": {"timeline": {"types": []}}}


@pytest.mark.parametrize("query", [{}, {"use_state_after": "true"}, {"filter": NO_TIMELINE}], ids=str)
async def test_who_waits_hears_of_new_keys_from_memory(
    server: TestServer, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch, query: dict[str, Any]
) -> None:
    """In a room of thousands the database would otherwise be asked thousands of times at once."""
    room_id = await shared_room(alice, bob)
    second = await server.device(bob)
    since = (await alice.sync(timeout=1, **query, since=await now(alice)))["next_batch"]
    waiting = await waits(alice, since, **query)
    monkeypatch.setattr("homeserver.services.sync.service.read_sync", read_nothing)
    await upload(bob)
    answer = await waiting
    assert answer["device_lists"] == {"changed": [bob.user_id], "left": []}
    assert "rooms" not in answer
    monkeypatch.undo()
    assert (await lists(alice, since))[:2] == ([bob.user_id], [])
    if not query:
        await bob.send(room_id, "first")
        waiting = await waits(alice, answer["next_batch"])
        since = (await waiting)["next_batch"]
        waiting = await waits(alice, since)
        monkeypatch.setattr("homeserver.services.sync.service.read_sync", read_nothing)
        await upload(second)
        assert (await waiting)["device_lists"] == {"changed": [bob.user_id], "left": []}
        await bob.send(room_id, "second")
        together = await alice.sync(since, timeout=30_000)
        assert together["device_lists"] == {"changed": [bob.user_id], "left": []}
        section = together["rooms"]["join"][room_id]
        assert [event["content"]["body"] for event in section["timeline"]["events"]] == ["second"]
        assert section["unread_notifications"]["notification_count"] == 2


def read_nothing(*_: object) -> None:
    """In the place of the database's answer to a sync."""
    raise AssertionError("the database was asked")


async def test_other_changes_of_keys(server: TestServer, alice: Client, bob: Client) -> None:
    await shared_room(alice, bob)
    second, bare = await server.device(bob), await server.device(bob)
    token = await now(alice)
    identity = Identity(bob.user_id)
    for change in ("device", "identity", "signature", "logout"):
        if change == "device":
            await upload(second)
        elif change == "identity":
            (await bob.post(DEVICE_SIGNING, identity.upload())).ok()
        elif change == "signature":
            copy = identity.signed("self_signing", device_of(second).keys())
            (await bob.post(SIGNATURES, {bob.user_id: {second.device_id: copy}})).ok()
        else:
            (await second.post(path_of("logout"))).ok()
        changed, left, token = await lists(alice, token)
        assert (changed, left) == ([bob.user_id], []), change
    # A device without keys is nobody's business.
    (await bare.post(path_of("logout"))).ok()
    assert (await lists(alice, token))[:2] == ([], [])


async def test_ways_to_lose_devices(server: TestServer, alice: Client, bob: Client) -> None:
    await shared_room(alice, bob)
    for way in ("delete", "password", "deactivate"):
        second = await server.device(bob)
        await upload(second)
        token = await now(alice)
        if way == "delete":
            path = path_of("devices", second.device_id)
            (await bob.delete(path, {"auth": proof("bob")})).ok()
        elif way == "password":
            body = {"new_password": PASSWORD, "auth": proof("bob")}
            (await bob.post(path_of("account", "password"), body)).ok()
        else:
            (await bob.post(path_of("account", "deactivate"), {"auth": proof("bob")})).ok()
        changed, left, _ = await lists(alice, token)
        # Who is deactivated leaves all rooms.
        assert (changed, left) == (([], [bob.user_id]) if way == "deactivate" else ([bob.user_id], []))


async def test_what_the_user_signs_is_told_to_the_own_devices(
    server: TestServer, alice: Client, bob: Client
) -> None:
    await shared_room(alice, bob)
    second = await server.device(alice)
    own, other = Identity(alice.user_id), Identity(bob.user_id)
    for client, identity in ((alice, own), (bob, other)):
        (await client.post(DEVICE_SIGNING, identity.upload())).ok()
    tokens = {each.device_id: await now(each) for each in (second, bob)}
    copy = own.signed("user_signing", other.key("master"))
    waiting = await waits(second, tokens[second.device_id])
    (await alice.post(SIGNATURES, {bob.user_id: {other.public("master"): copy}})).ok()
    assert (await waiting)["device_lists"] == {"changed": [bob.user_id], "left": []}
    assert (await lists(bob, tokens[bob.device_id]))[:2] == ([], [])


async def test_joining_an_encrypted_room(server: TestServer, alice: Client, bob: Client) -> None:
    carol = await server.user("carol")
    room_id = await shared_room(alice, carol)
    tokens = {client.user_id: await now(client) for client in (alice, bob, carol)}
    await bob.join(room_id)
    assert (await lists(alice, tokens[alice.user_id]))[:2] == ([bob.user_id], [])
    changed, left, _ = await lists(bob, tokens[bob.user_id])
    assert (changed, left) == ([alice.user_id, carol.user_id], [])


async def test_rooms_that_are_not_encrypted(alice: Client, bob: Client) -> None:
    tokens = {client.user_id: await now(client) for client in (alice, bob)}
    room_id = await shared_room(alice, bob, initial_state=[])
    for client in (alice, bob):
        changed, left, tokens[client.user_id] = await lists(client, tokens[client.user_id])
        assert (changed, left) == ([], [])
    # Until they are.
    waiting = await waits(bob, tokens[bob.user_id])
    await alice.set_state(room_id, "m.room.encryption", ENCRYPTION["content"])
    assert (await waiting)["device_lists"] == {"changed": [alice.user_id], "left": []}
    assert (await lists(alice, tokens[alice.user_id]))[:2] == ([bob.user_id], [])


@pytest.mark.parametrize("way", ["leave", "kick", "ban"])
async def test_leaving_the_last_shared_room(alice: Client, bob: Client, way: str) -> None:
    room_id = await shared_room(alice, bob)
    tokens = {client.user_id: await now(client) for client in (alice, bob)}
    if way == "leave":
        await bob.leave(room_id)
    else:
        (await alice.post(room_path(room_id, way), {"user_id": bob.user_id})).ok()
    for client, other in ((alice, bob), (bob, alice)):
        assert (await lists(client, tokens[client.user_id]))[:2] == ([], [other.user_id])


async def test_leaving_one_of_several_rooms(server: TestServer, alice: Client, bob: Client) -> None:
    carol = await server.user("carol")
    first, second = await shared_room(alice, bob), await shared_room(alice, bob)
    plain = await shared_room(alice, bob, initial_state=[])
    await carol.join(first)
    tokens = {client.user_id: await now(client) for client in (alice, bob)}
    await bob.leave(first)
    # Carol is in none of the other rooms.
    changed, left, tokens[bob.user_id] = await lists(bob, tokens[bob.user_id])
    assert (changed, left) == ([], [carol.user_id])
    changed, left, tokens[alice.user_id] = await lists(alice, tokens[alice.user_id])
    assert (changed, left) == ([], [])
    # The room that stays is not encrypted.
    await bob.leave(second)
    for client, other in ((alice, bob), (bob, alice)):
        changed, left, tokens[client.user_id] = await lists(client, tokens[client.user_id])
        assert (changed, left) == ([], [other.user_id])
    # But they still hear of each other.
    await upload(bob)
    assert (await lists(alice, tokens[alice.user_id]))[:2] == ([bob.user_id], [])
    await bob.leave(plain)


async def test_who_comes_back_in_time_has_not_left(alice: Client, bob: Client) -> None:
    room_id = await shared_room(alice, bob)
    token = await now(alice)
    await bob.leave(room_id)
    await bob.join(room_id)
    assert (await lists(alice, token))[:2] == ([bob.user_id], [])


async def test_who_leaves_while_the_reader_is_away(server: TestServer, alice: Client, bob: Client) -> None:
    carol, dave = await server.user("carol"), await server.user("dave")
    room_id = await shared_room(alice, bob)
    await carol.join(room_id)
    tokens = {client.user_id: await now(client) for client in (bob, dave)}
    await bob.leave(room_id)
    await carol.leave(room_id)
    for client in (bob, dave):
        await client.join(room_id)
    assert (await lists(bob, tokens[bob.user_id]))[:2] == ([alice.user_id, dave.user_id], [carol.user_id])
    # Who comes for the first time has never shared the room with her.
    assert (await lists(dave, tokens[dave.user_id]))[:2] == ([alice.user_id, bob.user_id], [])


async def test_who_leaves_while_it_is_said_anew_how_to_encrypt(
    server: TestServer, alice: Client, bob: Client
) -> None:
    carol = await server.user("carol")
    room_id = await shared_room(alice, bob)
    await carol.join(room_id)
    token = await now(bob)
    rotated = {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 10}
    await alice.set_state(room_id, "m.room.encryption", rotated)
    await carol.leave(room_id)
    assert (await lists(bob, token))[:2] == ([alice.user_id], [carol.user_id])


async def test_invitations_are_no_sharing(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(**{**ENCRYPTED, "preset": "private_chat"})
    token = await now(alice)
    await alice.invite(room_id, bob.user_id)
    await bob.leave(room_id)
    assert (await lists(alice, token))[:2] == ([], [])


async def test_filters_do_not_hide_devices(alice: Client, bob: Client) -> None:
    room_id = await shared_room(alice, bob)
    token = await now(alice)
    await bob.leave(room_id)
    answer = await alice.sync(token, filter={"room": {"rooms": []}})
    assert answer["device_lists"]["left"] == [bob.user_id]


def told_counts(answer: Any) -> tuple[dict[str, int], list[str]]:
    one_time_keys, fallback_keys = (answer[name] for name in COUNTS)
    return one_time_keys, fallback_keys


async def test_every_answer_has_the_counts(server: TestServer, alice: Client, bob: Client) -> None:
    room_id = await shared_room(alice, bob)
    answer = await alice.sync()
    assert told_counts(answer) == ({SIGNED: 0}, [])
    await upload(alice, "a", "b", fallback="f")
    answer = await alice.sync(answer["next_batch"])
    assert told_counts(answer) == ({SIGNED: 2}, [SIGNED])
    # Nothing new; a message, from the memory and from the database.
    assert told_counts(await alice.sync(answer["next_batch"])) == ({SIGNED: 2}, [SIGNED])
    waiting = await waits(alice, answer["next_batch"])
    await bob.send(room_id, "hello")
    assert told_counts(await waiting) == ({SIGNED: 2}, [SIGNED])
    assert told_counts(await alice.sync()) == ({SIGNED: 2}, [SIGNED])
    second = await server.device(alice)
    assert told_counts(await second.sync()) == ({SIGNED: 0}, [])


async def test_the_device_hears_of_claims_at_once(server: TestServer, alice: Client, bob: Client) -> None:
    second = await server.device(alice)
    await upload(alice, "a", fallback="f")
    token, other = await now(alice), await now(second)
    for expected in (({SIGNED: 0}, [SIGNED]), ({SIGNED: 0}, [])):
        waiting = await waits(alice, token)
        await claim(bob, alice)
        answer = await waiting
        assert told_counts(answer) == expected
        token = answer["next_batch"]
    # No news for the other device; nor is it one that the fallback key is used again.
    waiting, idle = await waits(alice, token), await waits(second, other)
    await claim(bob, alice)
    await bob.send(await shared_room(alice, bob), "hello")
    for each in (await waiting, await idle):
        assert "rooms" in each
    device = device_of(alice)
    body = {"fallback_keys": device.one_time_keys("g", fallback=True)}
    (await alice.post(UPLOAD, body)).ok()
    assert told_counts(await alice.sync(token)) == ({SIGNED: 0}, [SIGNED])


async def test_a_new_device_of_the_same_id_has_nothing(server: TestServer, alice: Client) -> None:
    second = await server.device(alice)
    await upload(second, "a", fallback="f")
    assert told_counts(await second.sync()) == ({SIGNED: 1}, [SIGNED])
    (await second.post(path_of("logout"))).ok()
    body = {**proof(), "device_id": second.device_id}
    again = server.anonymous()
    again.access_token = (await again.post(path_of("login"), body)).ok()["access_token"]
    answer = await again.sync()
    assert told_counts(answer) == ({SIGNED: 0}, [])
    assert told_counts(await again.sync(answer["next_batch"])) == ({SIGNED: 0}, [])


@pytest.mark.parametrize("query", [{}, {"from": "x", "to": "s1"}, {"from": "s1", "to": "x"}])
async def test_changes_that_are_refused(alice: Client, query: dict[str, str]) -> None:
    answer = await alice.request("GET", CHANGES, query=query, check=False)
    assert (answer.status, answer.json["errcode"]) in (
        (400, "M_MISSING_PARAM"),
        (400, "M_INVALID_PARAM"),
    )
