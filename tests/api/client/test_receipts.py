"""Client-server API, `receipts.yaml`."""

from typing import Any

import attrs
import pytest

from tests.api.server import Client, path_of, room_path


@attrs.frozen
class Conversation:
    """A room of both with a thread in it: `$root`, a `$reply` in its thread, and the `$last` message."""

    alice: Client
    bob: Client
    room: str
    events: dict[str, str]
    since: str

    def path(self, receipt_type: str, event: str) -> str:
        return room_path(self.room, "receipt", receipt_type, self.events.get(event, event))

    async def seen_by_bob(self) -> Any:
        """The contents of the `m.receipt` events that Bob gets."""
        answer = await self.bob.sync(self.since)
        if "rooms" not in answer:
            return []
        events = answer["rooms"]["join"][self.room]["ephemeral"]["events"]
        assert {event["type"] for event in events} == {"m.receipt"}
        return [event["content"] for event in events]


@pytest.fixture
async def talk(alice: Client, bob: Client) -> Conversation:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    root = await bob.send(room, "root")
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    reply = await bob.send_event(room, "m.room.message", {"body": "reply", **relation})
    events = {"$root": root, "$reply": reply, "$last": await bob.send(room, "last")}
    return Conversation(alice, bob, room, events, (await bob.sync())["next_batch"])


async def test_a_receipt_is_shown_and_never_moves_back(talk: Conversation) -> None:
    assert (await talk.alice.post(talk.path("m.read", "$last"), {})).ok() == {}
    (content,) = await talk.seen_by_bob()
    receipt = content[talk.events["$last"]]["m.read"][talk.alice.user_id]
    assert receipt.keys() == {"ts"}
    assert receipt["ts"] > 1_600_000_000_000
    (await talk.alice.post(talk.path("m.read", "$root"), {})).ok()
    assert await talk.seen_by_bob() == [content]


async def test_a_threaded_receipt_on_a_thread_and_on_its_root(talk: Conversation) -> None:
    in_thread = {"thread_id": talk.events["$root"]}
    (await talk.alice.post(talk.path("m.read", "$root"), in_thread)).ok()
    (await talk.alice.post(talk.path("m.read", "$reply"), in_thread)).ok()
    (await talk.alice.post(talk.path("m.read", "$last"), {"thread_id": "main"})).ok()
    # Each may come by itself, an earlier one before a later one.
    shown = {
        receipts["m.read"][talk.alice.user_id]["thread_id"]: event_id
        for content in await talk.seen_by_bob()
        for event_id, receipts in content.items()
    }
    assert shown == {talk.events["$root"]: talk.events["$reply"], "main": talk.events["$last"]}


async def test_a_redacted_reply_is_in_the_main_timeline(talk: Conversation) -> None:
    (await talk.bob.put(room_path(talk.room, "redact", talk.events["$reply"], "t"), {})).ok()
    (await talk.alice.post(talk.path("m.read", "$reply"), {"thread_id": "main"})).ok()
    in_thread = {"thread_id": talk.events["$root"]}
    (await talk.alice.post(talk.path("m.read", "$reply"), in_thread)).error(400, "M_INVALID_PARAM")


async def test_a_thread_of_an_event_elsewhere_is_none(talk: Conversation) -> None:
    elsewhere = await talk.bob.send(await talk.bob.create_room(), "elsewhere")
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": elsewhere}}
    event = await talk.bob.send_event(talk.room, "m.room.message", {"body": "x", **relation})
    by_thread = {"room": {"timeline": {"unread_thread_notifications": True}}}
    section = (await talk.alice.sync(filter=by_thread))["rooms"]["join"][talk.room]
    assert section["unread_notifications"]["notification_count"] == 3
    assert section["unread_thread_notifications"].keys() == {talk.events["$root"]}
    (await talk.alice.post(talk.path("m.read", event), {"thread_id": elsewhere})).error(
        400, "M_INVALID_PARAM"
    )
    (await talk.alice.post(talk.path("m.read", event), {"thread_id": "main"})).ok()


async def test_private_receipts_and_markers_are_not_shown(talk: Conversation) -> None:
    (await talk.alice.post(talk.path("m.read.private", "$last"), {})).ok()
    (await talk.alice.post(talk.path("m.fully_read", "$last"), {})).ok()
    assert await talk.seen_by_bob() == []
    path = path_of("user", talk.alice.user_id, "rooms", talk.room, "account_data", "m.fully_read")
    assert (await talk.alice.get(path)).ok() == {"event_id": talk.events["$last"]}
    (own,) = (await talk.alice.sync())["rooms"]["join"][talk.room]["ephemeral"]["events"]
    assert list(own["content"][talk.events["$last"]]) == ["m.read.private"]


@pytest.mark.parametrize(
    ("receipt_type", "event", "body"),
    [
        ("m.read", "$last", {"thread_id": 5}),
        ("m.read", "$last", {"thread_id": None}),
        ("m.read", "$last", {"thread_id": ""}),
        ("m.read", "$last", {"thread_id": "$root"}),
        ("m.read", "$last", {"thread_id": "\0"}),
        ("m.read", "$reply", {"thread_id": "main"}),
        ("m.fully_read", "$last", {"thread_id": "main"}),
        ("m.unknown", "$last", {}),
        ("m.read", "no-event-id", {}),
    ],
)
async def test_what_is_invalid(
    talk: Conversation, receipt_type: str, event: str, body: dict[str, object]
) -> None:
    thread = body.get("thread_id")
    if isinstance(thread, str) and thread in talk.events:
        body = {"thread_id": talk.events[thread]}
    (await talk.alice.post(talk.path(receipt_type, event), body)).error(400, "M_INVALID_PARAM")
    assert await talk.seen_by_bob() == []


async def test_events_and_rooms_that_are_not_the_users(
    talk: Conversation, carol: Client, guest: Client
) -> None:
    elsewhere = await talk.alice.create_room()
    other = await talk.alice.send(elsewhere, "elsewhere")
    for event in ("$unknown", other):
        (await talk.alice.post(talk.path("m.read", event), {})).error(404, "M_NOT_FOUND")
    (await carol.post(talk.path("m.read", "$last"), {})).error(403, "M_FORBIDDEN")
    (await guest.post(talk.path("m.read", "$last"), {})).error(403, "M_GUEST_ACCESS_FORBIDDEN")
    nowhere = room_path("!none:x", "receipt", "m.read", talk.events["$last"])
    (await talk.alice.post(nowhere, {})).error(403, "M_FORBIDDEN")
    (await talk.alice.post(talk.path("m.read", "$last"), [])).error(400, "M_BAD_JSON")
    (await talk.alice.post(talk.path("m.read", "$last"), b"{")).error(400, "M_NOT_JSON")
    await talk.alice.leave(talk.room)
    (await talk.alice.post(talk.path("m.read", "$last"), {})).error(403, "M_FORBIDDEN")
