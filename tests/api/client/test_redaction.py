"""Client-server API, `redaction.yaml`, and redactions by `room_send.yaml`."""

from typing import Any

import pytest

from tests.api.server import Client, TestServer, room_path


async def redact(client: Client, room: str, event_id: str, txn_id: str = "r", **body: object) -> Any:
    return await client.put(room_path(room, "redact", event_id, txn_id), body)


async def event_of(client: Client, room: str, event_id: str) -> Any:
    return (await client.get(room_path(room, "event", event_id))).ok()


@pytest.mark.parametrize("version", ["1", "3", "10", "11", "12"])
@pytest.mark.parametrize("by_send", [False, True])
async def test_the_content_is_gone_wherever_it_was(
    alice: Client, bob: Client, version: str, by_send: bool
) -> None:
    room = await alice.create_room(preset="public_chat", room_version=version)
    await bob.join(room)
    target = await bob.send(room, "a secret", txn_id="mine")
    since = (await alice.sync())["next_batch"]
    if by_send:
        body = {"redacts": target, "reason": "a slip", "org.example.more": 1}
        path = room_path(room, "send", "m.room.redaction", "r")
        redaction = (await bob.put(path, body)).ok()["event_id"]
    else:
        redaction = (await redact(bob, room, target, reason="a slip")).ok()["event_id"]
    # The redaction itself: `redacts` stands in both places, for clients old and new.
    (told,) = (await alice.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert (told["event_id"], told["type"], told["sender"]) == (redaction, "m.room.redaction", bob.user_id)
    assert told["redacts"] == told["content"]["redacts"] == target
    assert told["content"]["reason"] == "a slip"
    assert told["content"].get("org.example.more") == (1 if by_send else None)
    # The event, in all the ways to see it.
    for reader in (alice, bob):
        context = (await reader.get(room_path(room, "context", target))).ok()
        page = (await reader.get(room_path(room, "messages"), dir="b", limit=100)).ok()
        timeline = (await reader.sync())["rooms"]["join"][room]["timeline"]
        for answer in (context, page, timeline):
            assert "a secret" not in str(answer)
        for event in (
            await event_of(reader, room, target),
            context["event"],
            *(each for each in page["chunk"] if each["event_id"] == target),
            *(each for each in timeline["events"] if each["event_id"] == target),
        ):
            assert event["content"] == {}
            assert event["sender"] == bob.user_id
            because = event["unsigned"]["redacted_because"]
            assert because["event_id"] == redaction
            assert because["content"]["reason"] == "a slip"


async def test_transaction_ids(alice: Client) -> None:
    room = await alice.create_room()
    one, two = [await alice.send(room, text) for text in ("one", "two")]
    first = (await redact(alice, room, one, "t")).ok()
    assert (await redact(alice, room, one, "t")).ok() == first
    assert (await redact(alice, room, two, "t")).ok() != first
    body = {"redacts": one}
    by_send = (await alice.put(room_path(room, "send", "m.room.redaction", "t"), body)).ok()
    assert by_send != first
    # What is redacted stays redacted by the first.
    assert (await event_of(alice, room, one))["unsigned"]["redacted_because"]["event_id"] == first["event_id"]


async def test_what_redaction_leaves_of_state(alice: Client, bob: Client) -> None:
    """Room version 12, "Redactions": state stays, without what is not needed to decide who may do what."""
    room = await alice.create_room(preset="public_chat", room_version="12", topic="A topic")
    await bob.join(room)
    state = {(e["type"], e["state_key"]): e for e in (await alice.get(room_path(room, "state"))).ok()}
    expected: dict[tuple[str, str], Any] = {
        ("m.room.topic", ""): {},
        ("m.room.member", bob.user_id): {"membership": "join"},
        ("m.room.join_rules", ""): {"join_rule": "public"},
        ("m.room.create", ""): state["m.room.create", ""]["content"],
    }
    levels = state["m.room.power_levels", ""]["content"]
    expected["m.room.power_levels", ""] = {k: v for k, v in levels.items() if k != "notifications"}
    for number, (kind, state_key) in enumerate(expected):
        target = state[kind, state_key]["event_id"]
        (await redact(alice, room, target, str(number))).ok()
        path = room_path(room, "state", kind, state_key)
        assert (await bob.get(path)).ok() == expected[kind, state_key]
    # Bob is still in the room, and no topic of earlier times has come back.
    await bob.send(room, "still here")
    shown = (await bob.sync())["rooms"]["join"][room]
    assert "A topic" not in str(shown)


async def test_a_redaction_can_be_redacted(alice: Client) -> None:
    room = await alice.create_room(room_version="11")
    target = await alice.send(room, "hello")
    redaction = (await redact(alice, room, target, reason="a slip")).ok()["event_id"]
    (await redact(alice, room, redaction, "again")).ok()
    assert "a slip" not in str(await event_of(alice, room, redaction))
    assert (await event_of(alice, room, target))["content"] == {}


async def test_who_may_redact_what(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    ours, theirs = await alice.send(room, "alice's"), await bob.send(room, "bob's")
    (await redact(carol, room, ours)).error(403, "M_FORBIDDEN")
    (await redact(bob, room, ours)).error(403, "M_FORBIDDEN")
    body = {"redacts": ours}
    (await bob.put(room_path(room, "send", "m.room.redaction", "t"), body)).error(403, "M_FORBIDDEN")
    assert (await event_of(bob, room, ours))["content"]["body"] == "alice's"
    (await redact(alice, room, theirs)).ok()
    # Who may not send redactions cannot redact even own events.
    await alice.set_state(
        room, "m.room.power_levels", {"events": {"m.room.redaction": 50}, "users": {}, "redact": 0}
    )
    own = await bob.send(room, "own")
    (await redact(bob, room, own)).error(403, "M_FORBIDDEN")
    # And with the power to redact those of others comes nothing else.
    await alice.set_state(room, "m.room.power_levels", {"users": {}, "redact": 0})
    (await redact(bob, room, ours)).ok()
    await bob.leave(room)
    (await redact(bob, room, own)).error(403, "M_FORBIDDEN")


async def test_the_suspended_redact_their_own(server: TestServer, alice: Client, bob: Client) -> None:
    """Client-server API, "Account suspension"."""
    room = await alice.create_room(power_level_content_override={"redact": 0}, preset="public_chat")
    await bob.join(room)
    ours, theirs = await alice.send(room, "alice's"), await bob.send(room, "bob's")
    await server.restrict(bob, "is_suspended")
    (await redact(bob, room, ours)).error(403, "M_USER_SUSPENDED")
    (await redact(bob, room, theirs)).ok()


async def test_what_cannot_be_redacted(alice: Client) -> None:
    room, elsewhere = await alice.create_room(), await alice.create_room()
    other = await alice.send(elsewhere, "elsewhere")
    for target in (other, "$unknown", "$unknown:test.example"):
        (await redact(alice, room, target)).error(404, "M_NOT_FOUND")
    (await redact(alice, room, "no-event")).error(400, "M_INVALID_PARAM")
    (await redact(alice, "!none:test.example", other)).error(404, "M_NOT_FOUND")
    path = room_path(room, "send", "m.room.redaction", "t")
    for body in ({}, {"redacts": 5}, {"redacts": "no-event"}):
        (await alice.put(path, body)).error(400, "M_INVALID_PARAM")
    (await alice.put(path, {"redacts": other})).error(404, "M_NOT_FOUND")
    assert (await event_of(alice, elsewhere, other))["content"]["body"] == "elsewhere"
    path = room_path(room, "redact", await alice.send(room, "hello"), "t")
    (await alice.put(path, b"{")).error(400, "M_NOT_JSON")
    (await alice.put(path, [])).error(400, "M_BAD_JSON")
    (await alice.put(path, {"reason": "x" * 70_000})).error(413, "M_TOO_LARGE")
    assert await alice.messages_in(room) == ["hello"]
    assert (await alice.request("PUT", path)).status == 200  # no body at all is no reason
    assert await alice.messages_in(room) == []
