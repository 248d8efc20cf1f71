"""Client-server API, `room_send.yaml`, "Transaction identifiers", "Size limits", and canonical JSON."""

import random
import string
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.identifiers import DeviceID, EventID, RoomID, UserID
from homeserver.core.requester import Requester
from homeserver.storage import events
from tests.api.server import PASSWORD, Client, TestServer, path_of, room_path

LARGEST = 2**53 - 1


async def event_of(client: Client, room: str, event_id: str) -> Any:
    return (await client.get(room_path(room, "event", event_id))).ok()


async def send(client: Client, room: str, content: object, txn_id: str = "t") -> Any:
    return await client.put(room_path(room, "send", "m.room.message", txn_id), content)


@pytest.mark.parametrize(
    ("event_type", "content"),
    [
        ("m.room.message", {"msgtype": "m.text", "body": "hello"}),
        ("m.room.message", {}),
        ("m.room.message", {"body": 5, "msgtype": None}),
        ("org.example.event", {"": {"a.b": [True, False, None, [], {}]}, "ключ": "значение"}),
        ("org.example.numbers", {"numbers": [0, -1, LARGEST, -LARGEST]}),
        ("org.example.text", {"text": '👩‍👩‍👧 \u2028 \x00\x1f\\"/ ﷽ \ufeff \U0010ffff', "m.relates_to": 5}),
        ("ünï/cödé %2F 100% ?#&+", {"a": "b"}),
        ("m.room.name", {"name": "no state event without a state key"}),
    ],
)
async def test_what_is_sent_arrives(alice: Client, bob: Client, event_type: str, content: object) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    event_id = (await send_as(alice, room, event_type, content)).ok()["event_id"]
    event = await event_of(bob, room, event_id)
    assert (event["type"], event["content"], event["sender"]) == (event_type, content, alice.user_id)
    assert "state_key" not in event
    (synced,) = (await bob.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert (synced["event_id"], synced["content"]) == (event_id, content)


async def send_as(client: Client, room: str, event_type: str, content: object) -> Any:
    return await client.put(room_path(room, "send", event_type, "txn"), content)


# Transaction identifiers


async def test_a_repeated_transaction_id_sends_one_message(alice: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    first = await alice.send(room, "hello", txn_id="t1")
    assert await alice.send(room, "hello", txn_id="t1") == first
    # "The same HTTP response code and content as the original request", whatever is in the repetition.
    assert await alice.send(room, "something else", txn_id="t1") == first
    assert (await alice.put(path_of("rooms", room, "send", "m.room.message", "t1", version="r0"))).ok() == {
        "event_id": first
    }
    assert await alice.messages_in(room) == ["hello"]
    # Also when the request itself would no longer be granted.
    await alice.leave(room)
    assert await alice.send(room, "hello", txn_id="t1") == first


async def test_another_path_is_another_transaction(alice: Client) -> None:
    rooms = [await alice.create_room() for _ in range(2)]
    target = await alice.send(rooms[0], "to be redacted")
    sent = [await alice.send(room, "one", txn_id="t") for room in rooms]
    sent += [await alice.send_event(rooms[0], kind, {"body": "two"}, txn_id="t") for kind in ("a", "b")]
    sent.append(await alice.send(rooms[0], "three", txn_id="T"))
    sent.append(await alice.send(rooms[0], "four", txn_id="t "))
    sent.append(await alice.send(rooms[0], "five", txn_id="t/"))
    sent.append((await alice.put(room_path(rooms[0], "redact", target, "t"))).ok()["event_id"])
    assert len(set(sent)) == len(sent)
    assert await alice.messages_in(rooms[0]) == ["one", "three", "four", "five"]


async def test_a_transaction_id_belongs_to_a_device(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    phone = await server.device(alice)
    sent = [await client.send(room, "hello", txn_id="t") for client in (alice, phone, bob)]
    assert len(set(sent)) == 3
    (await alice.post(path_of("logout"))).ok()
    again = await server.device(alice)
    assert await again.send(room, "hello", txn_id="t") not in sent


async def test_a_transaction_id_outlives_the_access_token(server: TestServer, alice: Client) -> None:
    """ "If a client re-uses a transaction ID for the same endpoint after refreshing an access token"."""
    room = await alice.create_room()
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": PASSWORD,
        "device_id": "PHONE",
        "refresh_token": True,
    }
    phone = server.anonymous()
    made = (await phone.post(path_of("login"), body)).ok()
    phone.access_token = made["access_token"]
    first = await phone.send(room, "hello", txn_id="t")
    refreshed = (await phone.post(path_of("refresh"), {"refresh_token": made["refresh_token"]})).ok()
    phone.access_token = refreshed["access_token"]
    assert await phone.send(room, "hello", txn_id="t") == first
    # The same device by another login.
    phone.access_token = (await server.anonymous().post(path_of("login"), body)).ok()["access_token"]
    assert await phone.send(room, "hello", txn_id="t") == first


async def test_of_retransmissions_at_the_same_time_one_is_sent(alice: Client) -> None:
    room = await alice.create_room()
    sending = [Deferred.fromCoroutine(alice.send(room, "hello", txn_id="t")) for _ in range(5)]
    assert len(set(await gatherResults(sending, consumeErrors=True))) == 1
    assert await alice.messages_in(room) == ["hello"]


async def test_a_refused_request_can_be_repeated(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    (await send(bob, room, {"body": "hello"})).error(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    await bob.join(room)
    (await send(bob, room, {"body": "hello"})).ok()
    assert await alice.messages_in(room) == ["hello"]


async def test_transaction_ids_are_any_text(alice: Client) -> None:
    room = await alice.create_room()
    letters = random.Random(5).choices(string.ascii_letters + string.digits, k=8_000)
    for txn_id in ("0", "a/b", "%2F", "ü ☃", "m1700000000000.0", "x" * 255, "".join(letters)):
        first = await alice.send(room, txn_id[:20], txn_id=txn_id)
        assert await alice.send(room, txn_id[:20], txn_id=txn_id) == first
        assert (await event_of(alice, room, first))["unsigned"]["transaction_id"] == txn_id
    assert len(await alice.messages_in(room)) == 7


# Identifiers in the path


async def test_identifiers_may_be_encoded_in_part(alice: Client) -> None:
    room = await alice.create_room(room_version="11")
    bare = room.removeprefix("!").partition(":")[0]
    sent = set()
    for spelled in (
        f"!{bare}:test.example",
        f"%21{bare}:test.example",
        f"!{bare}%3Atest.example",
        f"%21{bare}%3atest%2Eexample",
    ):
        for event_type in ("m.room.message", "m%2Eroom%2emessage"):
            path = f"/_matrix/client/v3/rooms/{spelled}/send/{event_type}/t%31"
            sent.add((await alice.put(path, {"body": "hello"})).ok()["event_id"])
    assert len(sent) == 1
    assert await alice.messages_in(room) == ["hello"]
    for malformed in (f"!{bare}%3Atest.example%00", f"!{bare}%zz", "!%ff", "room", "%21", "%40alice%3Ax"):
        path = f"/_matrix/client/v3/rooms/{malformed}/send/m.room.message/t"
        (await alice.put(path, {})).error(400, "M_INVALID_PARAM")


# Size limits


async def test_the_largest_event(server: TestServer, alice: Client) -> None:
    """ "The complete event MUST NOT be larger than 65536 bytes", in the federation's format, as canonical JSON."""
    room = await alice.create_room()
    for number in range(10):  # from now on `depth` has two digits
        await alice.send(room, str(number))
    stored = await server.server.database.read(events.of, EventID(await alice.send(room, "")))
    assert stored is not None
    room_left = 65_536 - len(stored.pdu)
    message = {"msgtype": "m.text", "body": "x" * (room_left + 1)}
    (await send(alice, room, message)).error(413, "M_TOO_LARGE")
    event_id = await alice.send(room, "x" * room_left)
    assert len((await event_of(alice, room, event_id))["content"]["body"]) == room_left
    # What counts are bytes, and those of canonical JSON, not those of the request.
    (await send(alice, room, {"body": "ü" * 33_000})).error(413, "M_TOO_LARGE")
    escaped = b'{"body": "' + rb"\u0041" * 20_000 + b'"' + b" " * 100_000 + b"}"
    assert (await send(alice, room, escaped)).status == 200
    assert await alice.messages_in(room) == [*map(str, range(10)), "", "x" * room_left, "A" * 20_000]


async def test_the_longest_type(alice: Client) -> None:
    room = await alice.create_room()
    for event_type in ("x" * 255, "ü" * 127):
        (await send_as(alice, room, event_type, {})).ok()
    for event_type in ("x" * 256, "ü" * 128):
        (await send_as(alice, room, event_type, {})).error(413, "M_TOO_LARGE")


# Canonical JSON

NOT_CANONICAL = [
    (b'{"a": 1.5}', "M_BAD_JSON"),
    (b'{"a": 1.0}', "M_BAD_JSON"),
    (b'{"a": -0.0}', "M_BAD_JSON"),
    (b'{"a": 1e3}', "M_BAD_JSON"),
    (b'{"a": [{"b": 9007199254740992}]}', "M_BAD_JSON"),
    (b'{"a": -9007199254740992}', "M_BAD_JSON"),
    (b'{"a": 123456789012345678901234567890}', "M_BAD_JSON"),
]

NOT_JSON = [
    (b'{"a": 1, "a": 2}', "M_BAD_JSON"),
    (b'{"a": {"b": 1, "\\u0062": 2}}', "M_BAD_JSON"),
    (b'{"a": 1e999}', "M_BAD_JSON"),
    (b'{"a": NaN}', "M_NOT_JSON"),
    (b'{"a": Infinity}', "M_NOT_JSON"),
    (b'{"a": "\\ud800"}', "M_NOT_JSON"),
    (b'{"a": "\xff"}', "M_NOT_JSON"),
    (b'\xef\xbb\xbf{"a": 1}', "M_NOT_JSON"),
    (b'{"a": 1}{', "M_NOT_JSON"),
    (b'{"a": 01}', "M_NOT_JSON"),
    (b"{'a': 1}", "M_NOT_JSON"),
    (b"hello", "M_NOT_JSON"),
    (b" ", "M_NOT_JSON"),
    (b"[]", "M_BAD_JSON"),
    (b"null", "M_BAD_JSON"),
    (b'"hello"', "M_BAD_JSON"),
    (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "M_BAD_JSON"),
    (b'{"a": ' + b"[" * 100_000, "M_BAD_JSON"),
]


async def test_what_two_parsers_might_read_differently_is_refused(alice: Client) -> None:
    """Room versions, "Canonical JSON": events have it from version 6 on, and all servers must agree on it."""
    rooms = {version: await alice.create_room(room_version=version) for version in ("5", "6", "12")}
    before = (await alice.sync())["next_batch"]
    for room in rooms.values():
        for body, errcode in NOT_JSON:
            (await send(alice, room, body)).error(400, errcode)
    for version in ("6", "12"):
        for body, errcode in NOT_CANONICAL:
            (await send(alice, rooms[version], body)).error(400, errcode)
    assert "rooms" not in await alice.sync(before)
    # Before version 6 nobody has ever looked.
    event_id = (await send(alice, rooms["5"], b'{"a": [1.5, 9007199254740992]}')).ok()["event_id"]
    assert (await event_of(alice, rooms["5"], event_id))["content"] == {"a": [1.5, 2**53]}


async def test_an_empty_body_is_an_empty_object(alice: Client) -> None:
    room = await alice.create_room()
    event_id = (await send(alice, room, b"")).ok()["event_id"]
    assert (await event_of(alice, room, event_id))["content"] == {}


async def test_content_that_names_what_cannot_be(alice: Client, bob: Client) -> None:
    """NUL is good JSON, and no database's text: such an event is like one that refers to nothing."""
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    for content in (
        {"m.relates_to": {"rel_type": "m.thread", "event_id": "$\0"}},
        {"m.relates_to": {"rel_type": "m.annotation", "event_id": "\0", "key": "\0"}},
        {"m.relates_to": {"rel_type": "\0", "event_id": "x" * 10_000}},
        {"m.relates_to": {"rel_type": "m.thread", "event_id": "x" * 10_000}},
        {"m.mentions": {"user_ids": ["\0", "@\0:x", bob.user_id, 5], "room": True}},
        {"body": "\0", "\0": "\0"},
    ):
        event_id = await alice.send_event(room, "m.room.message", content)
        assert (await event_of(bob, room, event_id))["content"] == content
    (await send_as(alice, room, "m.room.redaction", {"redacts": "$\0"})).error(400, "M_INVALID_PARAM")
    await bob.sync(filter={"room": {"timeline": {"unread_thread_notifications": True}}})


# Who may send what


async def test_only_members_send(alice: Client, bob: Client, guest: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    for stranger in (bob, guest):
        (await send(stranger, room, {"body": "not in the room"})).error(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    (await send(bob, room, {"body": "only invited"})).error(403, "M_FORBIDDEN")
    await bob.join(room)
    (await send(bob, room, {"body": "joined"})).ok()
    await bob.leave(room)
    (await send(bob, room, {"body": "has left"}, "t2")).error(403, "M_FORBIDDEN")
    assert await alice.messages_in(room) == ["joined"]
    (await send(alice, "!nowhere:test.example", {"body": "no room"})).error(404, "M_NOT_FOUND")


async def test_the_room_says_who_may_send_what(alice: Client, bob: Client) -> None:
    levels = {"events_default": 10, "events": {"org.example.free": 0, "org.example.high": 60}}
    room = await alice.create_room(preset="public_chat", power_level_content_override=levels)
    await bob.join(room)
    (await send_as(bob, room, "m.room.message", {})).error(403, "M_FORBIDDEN")
    (await send_as(bob, room, "org.example.high", {})).error(403, "M_FORBIDDEN")
    (await send_as(bob, room, "org.example.free", {})).ok()
    (await send_as(alice, room, "org.example.high", {})).ok()


async def test_some_types_are_state_only(alice: Client) -> None:
    room = await alice.create_room()
    for event_type in ("m.room.member", "m.room.create"):
        (await send_as(alice, room, event_type, {"membership": "join"})).error(403, "M_FORBIDDEN")


async def test_the_suspended_do_not_send(server: TestServer, alice: Client, bob: Client) -> None:
    """Client-server API, "Account suspension"."""
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    sent = await bob.send(room, "hello", txn_id="t1")
    await server.restrict(bob, "is_suspended")
    (await send(bob, room, {"body": "more"})).error(403, "M_USER_SUSPENDED")
    assert await bob.send(room, "hello", txn_id="t1") == sent
    assert await bob.messages_in(room) == ["hello"]


async def test_what_a_device_sends_at_once_comes_in_its_order(server: TestServer, alice: Client) -> None:
    """Also with the first message for a while, with which it is noted that the device is active."""
    room = RoomID(await alice.create_room())
    alices = Requester(
        user_id=UserID(alice.user_id),
        device_id=DeviceID(alice.device_id),
        is_guest=False,
        is_admin=False,
        appservice_id=None,
        token_hash=b"",
    )
    send = server.server.services.messages.send
    texts = ["one", "two", "three"]
    await gatherResults(
        [
            Deferred.fromCoroutine(
                send(alices, room, "m.room.message", text, {"msgtype": "m.text", "body": text})
            )
            for text in texts
        ]
    )
    assert await alice.messages_in(room) == texts
