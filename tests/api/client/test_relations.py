"""Client-server API, `relations.yaml`, and the relations that are not aggregated or only listed."""

import json
from typing import Any

import pytest

from tests.api.client.relations_harness import (
    aggregations,
    all_related,
    edit,
    react,
    redact,
    relate,
    related,
    relations_path,
)
from tests.api.server import Client, room_path


@pytest.fixture
async def room(alice: Client, bob: Client) -> str:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return room


async def test_one_annotation_per_user_type_and_key(alice: Client, bob: Client, room: str) -> None:
    event = await alice.send(room, "hello")
    first = (await react(alice, room, event, "👍", txn_id="1")).ok()["event_id"]
    again = await react(alice, room, event, "👍", txn_id="2")
    again.error(400, "M_DUPLICATE_ANNOTATION")
    # A repeated request is no second annotation.
    assert (await react(alice, room, event, "👍", txn_id="1")).ok()["event_id"] == first
    (await react(alice, room, event, "👎", txn_id="3")).ok()
    (await react(alice, room, event, "👍", txn_id="4", type="org.example.vote")).ok()
    (await react(bob, room, event, "👍", txn_id="5")).ok()
    other = await alice.send(room, "other")
    (await react(alice, room, other, "👍", txn_id="6")).ok()
    await redact(alice, room, first)
    (await react(alice, room, event, "👍", txn_id="7")).ok()
    again = await alice.put(
        room_path(room, "state", "m.reaction", "key"),
        {"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": "👍"}},
    )
    again.error(400, "M_DUPLICATE_ANNOTATION")


@pytest.mark.parametrize("key", ["\0", "a\0b", "", "x" * 20_000, "\U0010ffff\u202e", '"\\u0000'])
async def test_strange_keys(alice: Client, room: str, key: str) -> None:
    event = await alice.send(room, "hello")
    (await react(alice, room, event, key, txn_id="1")).ok()
    (await react(alice, room, event, key, txn_id="2")).error(400, "M_DUPLICATE_ANNOTATION")
    (await react(alice, room, event, key + " ", txn_id="3")).ok()
    assert len(await related(alice, room, event)) == 2


async def test_annotations_are_not_aggregated(alice: Client, bob: Client, room: str) -> None:
    event = await alice.send(room, "hello")
    reaction = (await react(bob, room, event, "👍")).ok()["event_id"]
    assert await aggregations(alice, room, event) == {}
    assert await related(alice, room, event, "m.annotation", "m.reaction") == [reaction]
    assert await related(alice, room, event, "m.annotation", "m.other") == []
    await redact(bob, room, reaction)
    assert await related(alice, room, event) == []


async def test_annotations_are_of_originals(alice: Client, room: str) -> None:
    """Those of edits and of annotations are ignored; any other event may be annotated, state as well."""
    event = await alice.send(room, "hello")
    reaction = (await react(alice, room, event, "👍")).ok()["event_id"]
    replacement = await edit(alice, room, event, "hallo")
    for target in (reaction, replacement):
        (await react(alice, room, target, "👎", txn_id=target)).ok()
        assert await related(alice, room, target) == []
    state = await alice.set_state(room, "m.room.topic", {"topic": "topic"})
    on_state = (await react(alice, room, state, "👍", txn_id="state")).ok()["event_id"]
    assert await related(alice, room, state) == [on_state]


async def test_references(alice: Client, bob: Client, room: str) -> None:
    event = await alice.send(room, "hello")
    first = await relate(alice, room, event, "m.reference")
    second = await relate(bob, room, event, "m.reference")
    chunk = [{"event_id": first}, {"event_id": second}]
    assert await aggregations(bob, room, event) == {"m.reference": {"chunk": chunk}}
    await redact(alice, room, first)
    assert await aggregations(bob, room, event) == {"m.reference": {"chunk": chunk[1:]}}
    await bob.leave(room)
    await relate(alice, room, event, "m.reference")
    assert await aggregations(bob, room, event) == {"m.reference": {"chunk": chunk[1:]}}


async def test_replies_and_what_is_malformed_relate_to_nothing(alice: Client, room: str) -> None:
    event = await alice.send(room, "hello")
    malformed: list[Any] = [
        {"m.in_reply_to": {"event_id": event}},
        {"rel_type": "m.reference"},
        {"event_id": event},
        {"rel_type": 5, "event_id": event},
        {"rel_type": "m.reference", "event_id": {"event_id": event}},
        {"rel_type": "\0", "event_id": event},
        {"rel_type": "x" * 5_000, "event_id": event},
        {"rel_type": "m.reference", "event_id": event.removeprefix("$")},
        [],
        event,
    ]
    for relates_to in malformed:
        await alice.send_event(room, "m.room.message", {"body": "child", "m.relates_to": relates_to})
    assert await related(alice, room, event) == []
    assert await aggregations(alice, room, event) == {}


@pytest.mark.parametrize("version", ["1", "6", "12"])
async def test_all_forms_of_relations(alice: Client, bob: Client, version: str) -> None:
    room = await alice.create_room(preset="public_chat", room_version=version)
    await bob.join(room)
    event = await alice.send(room, "hello")
    reference = await relate(bob, room, event, "m.reference")
    vote = await alice.send_event(
        room, "org.example.vote", {"m.relates_to": {"rel_type": "m.reference", "event_id": event}}
    )
    threaded = await relate(bob, room, event, "m.thread")
    custom = await relate(bob, room, event, "org.example/ü?")
    everything = [custom, threaded, vote, reference]
    for reader in (alice, bob):
        assert await related(reader, room, event) == everything
        assert await related(reader, room, event, dir="f") == everything[::-1]
        assert await related(reader, room, event, "m.reference") == [vote, reference]
        assert await related(reader, room, event, "m.reference", "org.example.vote") == [vote]
        assert await related(reader, room, event, "org.example/ü?") == [custom]
        assert await related(reader, room, event, "m.reference", "m.none") == []
        for strange in ("%", "x" * 1_000):
            assert await related(reader, room, event, strange) == []
            assert await related(reader, room, event, "m.reference", strange) == []
    answer = (await alice.get(relations_path(room, event))).ok()
    assert answer.keys() == {"chunk"}
    assert {shown["room_id"] for shown in answer["chunk"]} == {room}


async def test_children_are_shown_with_their_own(alice: Client, room: str) -> None:
    root = await alice.send(room, "root")
    child = await relate(alice, room, root, "m.thread")
    replacement = await edit(alice, room, child, "edited")
    (shown,) = (await alice.get(relations_path(room, root))).ok()["chunk"]
    assert shown["unsigned"]["m.relations"]["m.replace"]["event_id"] == replacement


@pytest.mark.parametrize("recurse", [None, "true"])
@pytest.mark.parametrize("direction", ["b", "f"])
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_page_by_page(
    alice: Client, bob: Client, room: str, direction: str, limit: int, recurse: str | None
) -> None:
    event = await alice.send(room, "hello")
    made = []
    for number in range(10):
        made.append(await relate(bob, room, event, ("m.reference", "m.thread")[number % 2], str(number)))
        if number % 3 == 0:
            await edit(bob, room, event, "not valid")
    expected = made if direction == "f" else made[::-1]
    query: dict[str, Any] = {"dir": direction, "limit": limit}
    if recurse is not None:
        query["recurse"] = recurse
    assert await all_related(alice, room, event, **query) == expected
    threaded = [event_id for event_id in expected if made.index(event_id) % 2]
    assert await all_related(alice, room, event, "m.thread", **query) == threaded


async def test_tokens_of_other_endpoints(alice: Client, room: str) -> None:
    event = await alice.send(room, "hello")
    old = await relate(alice, room, event, "m.reference", "old")
    token = (await alice.sync())["next_batch"]
    new = await relate(alice, room, event, "m.reference", "new")
    assert await related(alice, room, event, **{"from": token}) == [old]
    assert await related(alice, room, event, to=token) == [new]
    assert await related(alice, room, event, dir="f", **{"from": token}) == [new]
    assert await related(alice, room, event, dir="f", to=token) == [old]
    start = (await alice.get(room_path(room, "messages"), dir="b")).ok()["start"]
    assert await related(alice, room, event, **{"from": start}) == [new, old]
    # What comes "after" cannot come before: nothing is left between the two.
    page = (await alice.get(relations_path(room, event), limit=1)).ok()
    assert await related(alice, room, event, **{"from": page["next_batch"], "to": token}) == []
    # New events do not move what a token stands for.
    await relate(alice, room, event, "m.reference", "newer")
    assert await related(alice, room, event, **{"from": page["next_batch"]}) == [old]


async def test_recursion(alice: Client, room: str) -> None:
    root = await alice.send(room, "root")
    in_thread = await relate(alice, room, root, "m.thread")
    reaction = (await react(alice, room, in_thread, "👍")).ok()["event_id"]
    replacement = await edit(alice, room, in_thread, "edited")
    line = [in_thread]
    for _ in range(6):
        line.append(await relate(alice, room, line[-1], "org.example.line"))
    direct = (await alice.get(relations_path(room, root))).ok()
    assert [event["event_id"] for event in direct["chunk"]] == [in_thread]
    assert "recursion_depth" not in direct
    answer = (await alice.get(relations_path(room, root), recurse="false")).ok()
    assert answer["chunk"] == direct["chunk"] or len(answer["chunk"]) == 1
    assert answer["recursion_depth"] == 0
    answer = (await alice.get(relations_path(room, root), recurse="true")).ok()
    depth = answer["recursion_depth"]
    assert depth >= 3
    expected = {in_thread, reaction, replacement, *line[: depth + 1]}
    assert {event["event_id"] for event in answer["chunk"]} == expected
    assert [event["event_id"] for event in answer["chunk"]][-1] == in_thread
    assert await all_related(alice, room, root, recurse="true", limit=2, dir="f") == [
        event["event_id"] for event in answer["chunk"][::-1]
    ]


async def test_recursion_goes_through_events_of_the_types_only(alice: Client, room: str) -> None:
    root = await alice.send(room, "root")
    in_thread = await relate(alice, room, root, "m.thread")
    (await react(alice, room, in_thread, "👍")).ok()
    await edit(alice, room, in_thread, "edited")
    direct = (await react(alice, room, root, "👎")).ok()["event_id"]
    assert await related(alice, room, root, "m.thread", recurse="true") == [in_thread]
    assert await related(alice, room, root, "m.annotation", recurse="true") == [direct]
    assert await related(alice, room, root, "m.replace", "m.room.message", recurse="true") == []
    line = [root]
    for _ in range(3):
        line.append(await relate(alice, room, line[-1], "org.example.line"))
    query = {"recurse": "true", "dir": "f"}
    assert await related(alice, room, root, "org.example.line", **query) == line[1:]
    assert await related(alice, room, root, "org.example.line", "m.room.message", **query) == line[1:]
    assert await related(alice, room, root, "org.example.line", "org.example.other", **query) == []


async def test_events_that_one_may_not_see(
    alice: Client, bob: Client, carol: Client, guest: Client, room: str
) -> None:
    event = await alice.send(room, "hello")
    elsewhere = await alice.create_room()
    other = await alice.send(elsewhere, "other")
    for types in ((), ("m.thread",), ("m.thread", "m.room.message")):
        (await carol.get(relations_path(room, event, *types))).error(404, "M_NOT_FOUND")
        (await alice.get(relations_path(room, other, *types))).error(404, "M_NOT_FOUND")
        (await alice.get(relations_path(room, "$none", *types))).error(404, "M_NOT_FOUND")
        (await alice.get(relations_path("!none:x", event, *types))).error(404, "M_NOT_FOUND")
        (await guest.get(relations_path(room, event, *types))).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    path = relations_path(room, event)
    for query in (
        {"dir": "x"},
        {"limit": 0},
        {"limit": "x"},
        {"from": "x"},
        {"to": "s"},
        {"recurse": "maybe"},
    ):
        (await alice.get(path, **query)).error(400, "M_INVALID_PARAM")
    await bob.leave(room)
    late = await alice.send(room, "late")
    (await bob.get(relations_path(room, late))).error(404, "M_NOT_FOUND")


async def test_filters_for_what_is_related_to(alice: Client, bob: Client, room: str) -> None:
    plain = await alice.send(room, "plain")
    root = await alice.send(room, "root")
    liked = await alice.send(room, "liked")
    reply = await relate(bob, room, root, "m.thread")
    (await react(alice, room, liked, "👍")).ok()

    async def passing(**wanted: Any) -> set[str]:
        page = (await alice.get(room_path(room, "messages"), dir="b", filter=json.dumps(wanted))).ok()
        around = (
            await alice.get(room_path(room, "context", plain), filter=json.dumps(wanted), limit=50)
        ).ok()
        section = (await alice.sync(filter={"room": {"timeline": wanted}}))["rooms"]["join"][room]
        by_page = {event["event_id"] for event in page["chunk"]}
        assert by_page == {event["event_id"] for event in section["timeline"]["events"]}
        shown = [*around["events_before"], *around["events_after"]]
        assert by_page - {plain} == {event["event_id"] for event in shown}
        return by_page

    assert await passing(related_by_rel_types=["m.thread"]) == {root}
    assert await passing(related_by_rel_types=["m.thread", "m.annotation"]) == {root, liked}
    assert await passing(related_by_senders=[alice.user_id]) == {liked}
    assert await passing(related_by_senders=[bob.user_id], related_by_rel_types=["m.annotation"]) == set()
    assert await passing(related_by_senders=[]) == set()
    assert await passing(related_by_senders=[bob.user_id], types=["m.room.message"]) == {root}
    await redact(bob, room, reply)
    assert await passing(related_by_rel_types=["m.thread"]) == set()
