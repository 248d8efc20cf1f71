"""Client-server API, "Threading": what is shown with the root, and the list of a room's threads."""

from typing import Any

import pytest

from tests.api.client.relations_harness import aggregations, edit, redact, relate, related, threads
from tests.api.server import Client, path_of, room_path


@pytest.fixture
async def room(alice: Client, bob: Client) -> str:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return room


async def thread(client: Client, room: str, root: str) -> Any:
    """What is shown of the thread with its root."""
    return (await aggregations(client, room, root)).get("m.thread")


async def ids(client: Client, room: str, **query: Any) -> list[str]:
    return [root["event_id"] for root in (await threads(client, room, **query)).ok()["chunk"]]


async def ignore(client: Client, *users: str) -> None:
    path = path_of("user", client.user_id, "account_data", "m.ignored_user_list")
    (await client.put(path, {"ignored_users": {user: {} for user in users}})).ok()


async def test_a_root_shows_its_thread(alice: Client, bob: Client, carol: Client, room: str) -> None:
    await carol.join(room)
    root = await alice.send(room, "root")
    assert await thread(alice, room, root) is None
    await relate(bob, room, root, "m.thread", "one")
    last = await relate(bob, room, root, "m.thread", "two")
    for reader, has_part in ((alice, True), (bob, True), (carol, False)):
        shown = await thread(reader, room, root)
        assert shown["count"] == 2
        assert shown["current_user_participated"] is has_part
        assert shown["latest_event"]["event_id"] == last
        assert shown["latest_event"]["content"]["body"] == "two"
        assert shown["latest_event"]["room_id"] == room
    await relate(carol, room, root, "m.thread", "three")
    assert (await thread(carol, room, root))["current_user_participated"]


async def test_the_latest_event_has_its_own_children(alice: Client, bob: Client, room: str) -> None:
    root = await alice.send(room, "root")
    last = await relate(alice, room, root, "m.thread", "one")
    replacement = await edit(alice, room, last, "edited")
    latest = (await thread(bob, room, root))["latest_event"]
    assert latest["event_id"] == last
    assert latest["unsigned"]["m.relations"]["m.replace"]["event_id"] == replacement


async def test_redaction_takes_an_event_out_of_its_thread(alice: Client, bob: Client, room: str) -> None:
    root = await alice.send(room, "root")
    first = await relate(bob, room, root, "m.thread", "one")
    second = await relate(bob, room, root, "m.thread", "two")
    await redact(bob, room, second)
    shown = await thread(alice, room, root)
    assert (shown["count"], shown["latest_event"]["event_id"]) == (1, first)
    await redact(bob, room, first)
    assert await thread(alice, room, root) is None
    assert await ids(alice, room) == []
    third = await relate(bob, room, root, "m.thread", "three")
    shown = await thread(alice, room, root)
    assert (shown["count"], shown["latest_event"]["event_id"]) == (1, third)
    # A thread survives its root's content.
    await redact(alice, room, root)
    assert (await thread(alice, room, root))["count"] == 1
    assert await ids(alice, room) == [root]


@pytest.mark.parametrize(
    "rel_type", ["m.thread", "m.annotation", "m.reference", "m.replace", "org.example.any"]
)
async def test_no_thread_within_a_relation(alice: Client, room: str, rel_type: str) -> None:
    root = await alice.send(room, "root")
    child = await relate(alice, room, root, rel_type, key="k")
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": child}}
    body = {"msgtype": "m.text", "body": "nested", **relation}
    refused = await alice.put(room_path(room, "send", "m.room.message", "nested"), body)
    refused.error(400, "M_UNKNOWN")
    refused = await alice.put(room_path(room, "state", "org.example.state"), relation)
    refused.error(400, "M_UNKNOWN")


async def test_a_reply_can_be_a_root(alice: Client, room: str) -> None:
    """It has no `rel_type`."""
    first = await alice.send(room, "first")
    relation: dict[str, Any] = {"m.in_reply_to": {"event_id": first}}
    reply = await alice.send_event(room, "m.room.message", {"body": "reply", "m.relates_to": relation})
    fallback: dict[str, Any] = {"m.in_reply_to": {"event_id": reply}, "is_falling_back": True}
    in_thread = await relate(alice, room, reply, "m.thread", **fallback)
    assert (await thread(alice, room, reply))["latest_event"]["event_id"] == in_thread
    assert await ids(alice, room) == [reply]
    assert await related(alice, room, first) == []


async def test_what_comes_after_a_leave_is_not_shown(alice: Client, bob: Client, room: str) -> None:
    root = await alice.send(room, "root")
    other = await alice.send(room, "other")
    seen = await relate(alice, room, root, "m.thread", "one")
    await bob.leave(room)
    await relate(alice, room, root, "m.thread", "two")
    await relate(alice, room, other, "m.thread", "three")
    shown = await thread(bob, room, root)
    assert (shown["count"], shown["latest_event"]["event_id"]) == (1, seen)
    assert await thread(bob, room, other) is None
    assert await ids(bob, room) == [root]
    assert await ids(alice, room) == [other, root]


async def test_what_was_said_before_a_join(alice: Client, bob: Client, carol: Client, room: str) -> None:
    root = await alice.send(room, "root")
    await relate(alice, room, root, "m.thread", "one")
    second = await relate(alice, room, root, "m.thread", "two")
    await carol.join(room)
    shown = await thread(carol, room, root)
    assert (shown["count"], shown["latest_event"]["event_id"]) == (2, second)
    # Where the history is for members only, those who come back see what they were there for.
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    root = await alice.send(room, "another root")
    first = await relate(alice, room, root, "m.thread", "one")
    await bob.leave(room)
    await relate(alice, room, root, "m.thread", "two")
    await bob.join(room)
    shown = await thread(bob, room, root)
    assert (shown["count"], shown["latest_event"]["event_id"]) == (1, first)
    assert (await thread(alice, room, root))["count"] == 2


async def test_ignored_users_do_not_count(alice: Client, bob: Client, carol: Client, room: str) -> None:
    await carol.join(room)
    root = await alice.send(room, "root")
    mine = await relate(alice, room, root, "m.thread", "one")
    for number in range(3):
        await relate(bob, room, root, "m.thread", f"noise {number}")
    noisy = await alice.send(room, "noisy")
    await relate(bob, room, noisy, "m.thread", "noise")
    await relate(bob, room, noisy, "m.reference", "noise")
    bobs = await bob.send(room, "bob's root")
    await edit(bob, room, bobs, "edited")
    await relate(alice, room, bobs, "m.thread", "answer")
    assert await ids(carol, room) == [bobs, noisy, root]
    await ignore(carol, bob.user_id)
    shown = await thread(carol, room, root)
    assert (shown["count"], shown["latest_event"]["event_id"]) == (1, mine)
    assert await aggregations(carol, room, noisy) == {}
    assert await related(carol, room, root) == [mine]
    chunk = (await threads(carol, room)).ok()["chunk"]
    assert [event["event_id"] for event in chunk] == [bobs, root]
    # The root of an ignored user looks redacted.
    assert chunk[0]["content"] == {}
    assert chunk[0]["unsigned"]["m.relations"].keys() == {"m.thread"}
    assert (await thread(alice, room, root))["count"] == 4


async def test_ignored_users_do_not_order_the_list(
    alice: Client, bob: Client, carol: Client, room: str
) -> None:
    await carol.join(room)
    roots = [await alice.send(room, f"root {number}") for number in range(5)]
    for root in roots:
        await relate(alice, room, root, "m.thread")
    noisy = await alice.send(room, "noisy")
    for root in (roots[0], noisy, roots[2]):
        await relate(carol, room, root, "m.thread", "noise")
    assert await ids(bob, room) == [roots[2], noisy, roots[0], roots[4], roots[3], roots[1]]
    await ignore(bob, carol.user_id)
    assert await ids(bob, room) == roots[::-1]
    found: list[str] = []
    query: dict[str, str] = {}
    while True:
        answer = (await threads(bob, room, limit=2, **query)).ok()
        found += [event["event_id"] for event in answer["chunk"]]
        if "next_batch" not in answer:
            break
        query = {"from": answer["next_batch"]}
    assert found == roots[::-1]


async def test_the_list_is_ordered_by_the_latest_event(alice: Client, bob: Client, room: str) -> None:
    roots = [await alice.send(room, f"root {number}") for number in range(5)]
    for root in roots:
        await relate(bob, room, root, "m.thread")
    assert await ids(alice, room) == roots[::-1]
    await relate(bob, room, roots[0], "m.thread")
    expected = [roots[0], *roots[:0:-1]]
    assert await ids(alice, room) == expected
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = (await threads(alice, room, limit=2, **token)).ok()
        for event in answer["chunk"]:
            assert event["unsigned"]["m.relations"]["m.thread"]["count"] == 1 + (
                event["event_id"] == roots[0]
            )
            assert event["room_id"] == room
        found += [event["event_id"] for event in answer["chunk"]]
        if "next_batch" not in answer:
            break
        token = {"from": answer["next_batch"]}
    assert found == expected
    assert len((await threads(alice, room, limit=5)).ok()["chunk"]) == 5
    assert "next_batch" not in (await threads(alice, room, limit=5)).ok()


async def test_those_one_has_a_part_in(alice: Client, bob: Client, carol: Client, room: str) -> None:
    await carol.join(room)
    first, second, third = [await client.send(room, "root") for client in (alice, bob, bob)]
    for root in (first, second, third):
        await relate(bob, room, root, "m.thread")
    await relate(carol, room, second, "m.thread")
    assert await ids(bob, room, include="participated") == [second, third, first]
    assert await ids(alice, room, include="participated") == [first]
    assert await ids(carol, room, include="participated") == [second]
    assert await ids(carol, room, include="all") == [second, third, first]


async def test_who_may_list_threads(
    alice: Client, bob: Client, carol: Client, guest: Client, room: str
) -> None:
    (await threads(carol, room)).error(403, "M_FORBIDDEN")
    (await threads(carol, "!none:test.example")).error(403, "M_FORBIDDEN")
    (await threads(guest, room)).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await threads(alice, room, include="some")).error(400, "M_INVALID_PARAM")
    for limit in (0, -1, "x"):
        (await threads(alice, room, limit=limit)).error(400, "M_INVALID_PARAM")
    for token in ("x", "s1x", "t5"):
        (await threads(alice, room, **{"from": token})).error(400, "M_INVALID_PARAM")
    assert (await threads(bob, room)).ok() == {"chunk": []}
    (await alice.post(room_path(room, "ban"), {"user_id": carol.user_id})).ok()
    (await threads(carol, room)).error(403, "M_FORBIDDEN")


async def test_roots_that_are_not_there(alice: Client, room: str) -> None:
    """A thread of an unknown event, or of one elsewhere, is none of this room's."""
    elsewhere = await alice.create_room()
    other = await alice.send(elsewhere, "elsewhere")
    await relate(alice, room, "$unknown", "m.thread")
    await relate(alice, room, other, "m.thread")
    state = await alice.set_state(room, "m.room.topic", {"topic": "topic"})
    await relate(alice, room, state, "m.thread")
    assert await ids(alice, room) == [state]
    # State has no aggregations.
    assert await aggregations(alice, room, state) == {}
    assert await aggregations(alice, elsewhere, other) == {}
