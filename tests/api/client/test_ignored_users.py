"""Client-server API, module "Ignoring Users"."""

from typing import Any

from tests.api.client.relations_harness import relate
from tests.api.client.sliding_sync.harness import Sliding, old_list
from tests.api.server import SERVER_NAME, Client, TestServer, path_of, room_path


async def ignore(client: Client, *others: str) -> None:
    await put_list(client, {"ignored_users": {other: {} for other in others}})


async def put_list(client: Client, content: object) -> None:
    (await client.put(path_of("user", client.user_id, "account_data", "m.ignored_user_list"), content)).ok()


def shown(answer: Any, room: str) -> list[str]:
    """The bodies of the messages of a sync, or the types of other events."""
    joined = answer.get("rooms", {}).get("join", {}).get(room, {})
    return [
        event["content"].get("body", event["type"]) for event in joined.get("timeline", {}).get("events", [])
    ]


def unread(answer: Any, room: str) -> int:
    count: int = answer["rooms"]["join"][room]["unread_notifications"]["notification_count"]
    return count


async def room_of(alice: Client, *others: Client) -> str:
    room = await alice.create_room(preset="public_chat")
    for other in others:
        await other.join(room)
    return room


async def test_messages_of_ignored_users_are_not_shown(alice: Client, bob: Client, carol: Client) -> None:
    room = await room_of(alice, bob, carol)
    await alice.set_state(
        room,
        "m.room.power_levels",
        {"users": {bob.user_id: 100}},
    )
    await ignore(alice, bob.user_id)
    event = await bob.send(room, "from bob")
    await carol.send(room, "from carol")
    await bob.set_state(room, "m.room.topic", {"topic": "state is shown"})
    for wanted in ({}, {"room": {"timeline": {"limit": 50}}}):
        bodies = shown(await alice.sync(filter=wanted), room)
        assert "from carol" in bodies
        assert "from bob" not in bodies
        assert "m.room.topic" in bodies
    assert await alice.messages_in(room) == ["from carol"]
    assert await carol.messages_in(room) == ["from bob", "from carol"]
    (await alice.get(room_path(room, "event", event))).error(404, "M_NOT_FOUND")
    (await alice.get(room_path(room, "context", event))).error(404, "M_NOT_FOUND")
    topic = (await alice.get(room_path(room, "state", "m.room.topic", ""))).ok()
    assert topic == {"topic": "state is shown"}


async def test_a_waiting_client_is_not_told(alice: Client, bob: Client, carol: Client) -> None:
    """From memory as from the database, and at once when the list changes."""
    room = await room_of(alice, bob, carol)
    since = (await alice.sync())["next_batch"]
    await bob.send(room, "one")
    answer = await alice.sync(since)
    assert shown(answer, room) == ["one"]
    await ignore(alice, bob.user_id)
    since = (await alice.sync(answer["next_batch"]))["next_batch"]
    for text in ("two", "three"):
        await bob.send(room, text)
        answer = await alice.sync(since)
        assert shown(answer, room) == []
        since = answer["next_batch"]
    await bob.send(room, "four")
    await carol.send(room, "five")
    answer = await alice.sync(since, timeout=10_000)
    assert shown(answer, room) == ["five"]
    await ignore(alice)
    since = (await alice.sync(answer["next_batch"]))["next_batch"]
    await bob.send(room, "six")
    answer = await alice.sync(since, timeout=10_000)
    # "It should not send events that were missed while the user was ignored."
    assert shown(answer, room) == ["six"]
    assert await alice.messages_in(room) == ["one", "two", "three", "four", "five", "six"]


async def test_they_notify_of_nothing(alice: Client, bob: Client, carol: Client) -> None:
    room = await room_of(alice, bob, carol)
    await ignore(alice, bob.user_id)
    mention: dict[str, Any] = {"m.mentions": {"user_ids": [alice.user_id]}}
    await bob.send(room, f"hello {alice.user_id}", **mention)
    assert unread(await alice.sync(), room) == 0
    assert unread(await carol.sync(), room) == 1
    await carol.send(room, "hello")
    answer = await alice.sync()
    assert unread(answer, room) == 1
    await bob.send(room, "more")
    assert unread(await alice.sync(), room) == 1
    # Changes of the rules do not bring them back, nor do rules show who is ignored.
    rule = path_of("pushrules", "global", "room", room)
    (await alice.put(rule, {"actions": ["notify"]})).ok()
    await bob.send(room, "more")
    assert unread(await alice.sync(), room) == 1
    assert bob.user_id not in str((await alice.get(path_of("pushrules", ""))).json)
    await ignore(alice)
    await bob.send(room, "back")
    assert unread(await alice.sync(), room) == 2


async def test_what_they_had_sent_before_is_not_unread(alice: Client, bob: Client, carol: Client) -> None:
    room = await room_of(alice, bob, carol)
    await bob.send(room, f"hello {alice.user_id}")
    in_thread = await relate(bob, room, await carol.send(room, "root"), "m.thread")
    # What is an exception for Alice, and what is none, counts alike.
    (await alice.put(path_of("pushrules", "global", "sender", bob.user_id), {"actions": ["notify"]})).ok()
    await bob.send(room, "more")
    await bob.send_event(room, "org.example.any", {})
    client = Sliding(alice)
    assert unread(await alice.sync(), room) == 5
    await ignore(alice, bob.user_id)
    assert unread(await alice.sync(), room) == 1
    assert (await client.ask_old(lists=old_list()))["rooms"][room]["notification_count"] == 1
    (await alice.post(room_path(room, "receipt", "m.read", in_thread))).ok()
    assert unread(await alice.sync(), room) == 0
    await ignore(alice)
    assert unread(await alice.sync(), room) == 2


async def test_invitations_of_ignored_users(alice: Client, bob: Client, carol: Client) -> None:
    await ignore(alice, bob.user_id)
    since = (await alice.sync())["next_batch"]
    bad, good = await bob.create_room(), await carol.create_room()
    await bob.invite(bad, alice.user_id)
    await carol.invite(good, alice.user_id)
    for answer in (
        await alice.sync(),
        await alice.sync(since),
        await alice.sync(full_state="true", since=since),
    ):
        assert set(answer["rooms"]["invite"]) == {good}
    listed = (await alice.get(path_of("initialSync"))).ok()["rooms"]
    assert [room["room_id"] for room in listed] == [good]
    await ignore(alice)
    assert set((await alice.sync())["rooms"]["invite"]) == {good, bad}


async def test_lists_that_are_none(alice: Client, bob: Client) -> None:
    room = await room_of(alice, bob)
    nonsense: list[Any] = [{}, {"ignored_users": []}, {"ignored_users": None}, {"ignored_users": {"bob": 1}}]
    for content in nonsense:
        await put_list(alice, content)
        await bob.send(room, "hello")
        assert "hello" in shown(await alice.sync(), room)
    await ignore(alice, alice.user_id)
    await alice.send(room, "my own")
    assert "my own" in shown(await alice.sync(), room)
    many: dict[str, Any] = {"ignored_users": {f"@user{n}:{SERVER_NAME}": {} for n in range(5_001)}}
    path = path_of("user", alice.user_id, "account_data", "m.ignored_user_list")
    (await alice.put(path, many)).error(413, "M_TOO_LARGE")
    assert (await alice.get(path)).ok() == {"ignored_users": {alice.user_id: {}}}


async def test_one_who_is_ignored_notices_nothing(server: TestServer, alice: Client, bob: Client) -> None:
    room = await room_of(alice, bob)
    await ignore(alice, bob.user_id)
    await bob.send(room, "hello")
    await alice.send(room, "hi")
    assert shown(await bob.sync(), room)[-2:] == ["hello", "hi"]
    other = await server.device(alice)
    assert "hello" not in shown(await other.sync(), room)
