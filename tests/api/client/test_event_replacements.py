"""Client-server API, "Event replacements": which edits count, and how they are shown with what they edit."""

import json
from typing import Any

import pytest

from tests.api.client.relations_harness import aggregations, edit, edit_of, redact, relate, related
from tests.api.server import Client, path_of, room_path


@pytest.fixture
async def room(alice: Client, bob: Client) -> str:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return room


async def latest(client: Client, room: str, event_id: str) -> Any:
    """The edit that is shown with the event."""
    return (await aggregations(client, room, event_id)).get("m.replace")


async def test_the_latest_edit_is_shown_as_an_event(alice: Client, bob: Client, room: str) -> None:
    original = await alice.send(room, "cake")
    assert await latest(bob, room, original) is None
    await edit(alice, room, original, "chocolate cake")
    second = await edit(alice, room, original, "*chocolate* cake")
    for reader in (alice, bob):
        shown = await latest(reader, room, original)
        assert (shown["event_id"], shown["sender"], shown["type"]) == (
            second,
            alice.user_id,
            "m.room.message",
        )
        assert shown["content"] == edit_of(original, "*chocolate* cake")
        assert shown["room_id"] == room
        assert shown["unsigned"]["membership"] == "join"
        # The original keeps its content.
        event = (await reader.get(room_path(room, "event", original))).ok()
        assert event["content"]["body"] == "cake"
    assert set(await related(bob, room, original)) == set(await related(bob, room, original, "m.replace"))
    assert (await related(bob, room, original, "m.replace"))[0] == second


async def test_only_the_sender_edits(alice: Client, bob: Client, room: str) -> None:
    original = await alice.send(room, "mine")
    foreign = await edit(bob, room, original, "yours")
    assert await latest(alice, room, original) is None
    assert await related(alice, room, original) == []
    # It is an event like any other, which clients see.
    assert (await alice.get(room_path(room, "event", foreign))).ok()["content"]["body"] == "* yours"


async def test_the_type_stays(alice: Client, room: str) -> None:
    original = await alice.send(room, "mine")
    await alice.send_event(room, "org.example.other", edit_of(original, "other"))
    assert await latest(alice, room, original) is None
    # The kind of a message may change.
    content = edit_of(original, "emote") | {"msgtype": "m.emote"}
    emote = await alice.send_event(room, "m.room.message", content)
    assert (await latest(alice, room, original))["event_id"] == emote


async def test_state_neither_edits_nor_is_edited(alice: Client, room: str) -> None:
    original = await alice.send_event(room, "org.example.thing", {"body": "message"})
    await alice.set_state(room, "org.example.thing", edit_of(original, "state"))
    assert await latest(alice, room, original) is None
    assert await related(alice, room, original) == []
    state = await alice.set_state(room, "org.example.thing", {"body": "state"}, "key")
    await alice.send_event(room, "org.example.thing", edit_of(state, "message"))
    assert await latest(alice, room, state) is None
    assert await related(alice, room, state) == []


async def test_no_edit_of_an_edit(alice: Client, room: str) -> None:
    original = await alice.send(room, "one")
    first = await edit(alice, room, original, "two")
    await edit(alice, room, first, "three")
    assert (await latest(alice, room, original))["event_id"] == first
    assert await latest(alice, room, first) is None
    assert await related(alice, room, first) == []


async def test_an_edit_in_another_room_is_none(alice: Client, room: str) -> None:
    original = await alice.send(room, "here")
    elsewhere = await alice.create_room()
    await edit(alice, elsewhere, original, "there")
    assert await latest(alice, room, original) is None
    assert await related(alice, room, original) == []


@pytest.mark.parametrize("new_content", [None, 5, "text", []])
async def test_an_edit_needs_new_content(alice: Client, room: str, new_content: object) -> None:
    original = await alice.send(room, "one")
    content = edit_of(original, "two")
    if new_content is None:
        del content["m.new_content"]
    else:
        content["m.new_content"] = new_content
    await alice.send_event(room, "m.room.message", content)
    assert await latest(alice, room, original) is None


async def test_edits_of_encrypted_events(alice: Client, bob: Client, room: str) -> None:
    """Their new content stands where the server cannot see it."""
    secret = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s"}
    original = await alice.send_event(room, "m.room.encrypted", secret)
    relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": original}}
    replacement = await alice.send_event(room, "m.room.encrypted", secret | relation)
    await bob.send_event(room, "m.room.encrypted", secret | relation)
    assert (await latest(bob, room, original))["event_id"] == replacement
    # What was encrypted stays so.
    await alice.send_event(room, "m.room.message", edit_of(original, "plain"))
    assert (await latest(bob, room, original))["event_id"] == replacement


async def test_a_redacted_edit_gives_way_to_the_one_before(alice: Client, bob: Client, room: str) -> None:
    original = await alice.send(room, "one")
    first = await edit(alice, room, original, "two")
    second = await edit(alice, room, original, "three")
    await redact(alice, room, second)
    assert (await latest(bob, room, original))["event_id"] == first
    assert await related(bob, room, original, "m.replace") == [first]
    await redact(alice, room, first)
    assert await latest(bob, room, original) is None
    assert await related(bob, room, original) == []


async def test_edits_of_a_redacted_event_are_not_shown_with_it(alice: Client, room: str) -> None:
    original = await alice.send(room, "one")
    replacement = await edit(alice, room, original, "two")
    reference = await relate(alice, room, original, "m.reference")
    await redact(alice, room, original)
    # That is so for edits alone.
    assert await aggregations(alice, room, original) == {"m.reference": {"chunk": [{"event_id": reference}]}}
    assert replacement in await related(alice, room, original)


async def test_an_edit_after_a_leave_is_not_shown(alice: Client, bob: Client, room: str) -> None:
    original = await alice.send(room, "one")
    before = await edit(alice, room, original, "two")
    await bob.leave(room)
    after = await edit(alice, room, original, "three")
    assert (await latest(bob, room, original))["event_id"] == before
    assert await related(bob, room, original) == [before]
    assert (await latest(alice, room, original))["event_id"] == after
    section = (await bob.sync(filter={"room": {"include_leave": True}}))["rooms"]["leave"][room]
    (shown,) = (e for e in section["timeline"]["events"] if e["event_id"] == original)
    assert after not in str(shown)


async def test_an_edit_while_one_was_away_is_not_shown(alice: Client, bob: Client, room: str) -> None:
    """The history is for those who are in the room: an edit in between falls back to one that is seen."""
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    original = await alice.send(room, "one")
    before = await edit(alice, room, original, "two")
    await bob.leave(room)
    away = await edit(alice, room, original, "three")
    await bob.join(room)
    assert (await latest(bob, room, original))["event_id"] == before
    assert await related(bob, room, original) == [before]
    assert (await latest(alice, room, original))["event_id"] == away
    back = await edit(alice, room, original, "four")
    assert (await latest(bob, room, original))["event_id"] == back


async def test_the_senders_device_knows_its_edit(alice: Client, bob: Client, room: str) -> None:
    original = await alice.send(room, "one")
    path = room_path(room, "send", "m.room.message", "an edit")
    (await alice.put(path, edit_of(original, "two"))).ok()
    assert (await latest(alice, room, original))["unsigned"]["transaction_id"] == "an edit"
    assert "transaction_id" not in (await latest(bob, room, original))["unsigned"]


async def test_sync_shows_it_where_the_client_has_not_seen_the_edit(
    alice: Client, bob: Client, room: str
) -> None:
    original = await alice.send(room, "one")
    since = (await bob.sync())["next_batch"]
    replacement = await edit(alice, room, original, "two")
    # The edit comes as an event; what it edits is not sent again.
    (only,) = (await bob.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert only["event_id"] == replacement

    def shown(answer: Any) -> Any:
        events = answer["rooms"]["join"][room]["timeline"]["events"]
        return next((event for event in events if event["event_id"] == original), None)

    # A first sync, and one that leaves something out.
    event = shown(await bob.sync())
    assert event["unsigned"]["m.relations"]["m.replace"]["event_id"] == replacement
    assert "room_id" not in event["unsigned"]["m.relations"]["m.replace"]
    since = (await bob.sync())["next_batch"]
    other = await alice.send(room, "other")
    await edit(alice, room, other, "edited")
    for number in range(3):
        await alice.send(room, str(number))
    limited = await bob.sync(since, filter={"room": {"timeline": {"limit": 5}}})
    section = limited["rooms"]["join"][room]["timeline"]
    assert not section["limited"]
    assert not any("m.relations" in event["unsigned"] for event in section["events"])
    await edit(alice, room, other, "again")
    limited = await bob.sync(since, filter={"room": {"timeline": {"limit": 6, "not_types": ["x"]}}})
    section = limited["rooms"]["join"][room]["timeline"]
    assert not section["limited"]
    last = await edit(alice, room, other, "and again")
    tight = {"room": {"timeline": {"limit": 6, "not_types": ["x"]}}}
    section = (await bob.sync(since, filter=tight))["rooms"]["join"][room]["timeline"]
    assert section["limited"]
    assert last in [event["event_id"] for event in section["events"]]


async def test_other_forms_of_events(alice: Client, room: str) -> None:
    original = await alice.send(room, "one")
    replacement = await edit(alice, room, original, "two")

    async def shown(**options: Any) -> Any:
        # Neither form is what the specification's schema has.
        path, query = path_of("sync"), {"filter": json.dumps(options)}
        answer = (await alice.request("GET", path, query=query, check=False)).ok()
        events = answer["rooms"]["join"][room]["timeline"]["events"]
        return next(event for event in events if event["unsigned"].get("m.relations"))

    federation = await shown(event_format="federation")
    assert federation["unsigned"]["m.relations"]["m.replace"]["prev_events"]
    fields = await shown(event_fields=["event_id", "unsigned"])
    assert fields.keys() == {"event_id", "unsigned"}
    assert fields["unsigned"]["m.relations"]["m.replace"]["event_id"] == replacement
