"""Our own `/sync` as a stream: `docs/streaming.md`."""

import contextlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from homeserver.api.client import sync_streams
from homeserver.database.errors import StorageUnavailable
from homeserver.http.websocket import MOST_BYTES, WebSocket
from homeserver.services.sync import streams
from homeserver.services.sync.service import Sync
from tests.api.client.stream_harness import PREFIX, EventSource, ServerEvent, event_source, web_socket
from tests.api.http_harness import turns, until
from tests.api.server import PASSWORD, Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification


def texts(answer: Any, room: str) -> list[str]:
    timeline = answer["rooms"]["join"][room]["timeline"]["events"]
    return [event["content"]["body"] for event in timeline if event["type"] == "m.room.message"]


async def collect(source: EventSource, room: str, many: int) -> list[str]:
    """The next messages of a room, in however many answers they come."""
    found: list[str] = []
    while len(found) < many:
        found += texts(await source.rooms(), room)
    return found


def count(server: TestServer) -> int:
    return len(server.server.services.syncing.streams)


async def test_it_is_announced(server: TestServer) -> None:
    features = (await server.anonymous().get("/_matrix/client/versions")).ok()["unstable_features"]
    assert features["io.homeserver.streaming_sync"] is True


async def test_events_come_as_they_are_sent_and_go_on_from_any_of_them(
    server: TestServer, alice: Client, bob: Client
) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    async with event_source(alice) as source:
        assert source.head.status == 200
        assert source.head.headers["content-type"] == "text/event-stream"
        assert source.head.headers["cache-control"] == "no-store"
        assert source.head.headers["access-control-allow-origin"] == "*"
        assert (await source.event()).retry in range(1_000, 3_001)
        first = await source.rooms()
        expected = await alice.sync()
        assert first["rooms"].keys() == expected["rooms"].keys()
        assert first["rooms"]["join"][room]["timeline"]["events"][-1]["sender"] == bob.user_id
        seen, tokens = [], [first["next_batch"]]
        for number in range(3):
            await bob.send(room, f"m{number}\n\u2028\r")
            answer = await source.rooms()
            seen += texts(answer, room)
            tokens.append(answer["next_batch"])
        assert seen == [f"m{number}\n\u2028\r" for number in range(3)]
        assert count(server) == 1
    await until(lambda: count(server) == 0)
    # Nobody listens now; then the client goes on from what it has, by either way.
    await bob.send(room, "m3")
    for since in ({"headers": [f"Last-Event-ID: {tokens[2]}"], "since": tokens[0]}, {"since": tokens[2]}):
        headers = since.pop("headers", [])
        async with event_source(alice, *headers, **since) as source:
            assert await collect(source, room, 2) == ["m2\n\u2028\r", "m3"]
    # The same token is one for /sync, and the other way round.
    assert texts(await alice.sync(tokens[3]), room) == ["m3"]
    async with event_source(alice, since=(await alice.sync())["next_batch"]) as source:
        await bob.send(room, "m4")
        assert texts(await source.rooms(), room) == ["m4"]


async def test_the_parameters_are_those_of_sync(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    wanted = {"room": {"timeline": {"types": ["org.example.wanted"]}}}
    since = (await alice.sync())["next_batch"]
    query = {"filter": json.dumps(wanted), "since": since, "set_presence": "unavailable"}
    async with event_source(alice, **query) as source:
        await bob.send(room, "not wanted")
        await bob.send_event(room, "org.example.wanted", {"body": "wanted"})
        (event,) = (await source.rooms())["rooms"]["join"][room]["timeline"]["events"]
        assert event["content"] == {"body": "wanted"}
        presence = (await bob.get(path_of("presence", alice.user_id, "status"))).ok()
        assert presence["presence"] == "unavailable"
    async with event_source(alice, since=since, full_state="true") as source:
        assert (await source.rooms())["rooms"]["join"][room]["state"]["events"]
        await bob.send(room, "only this")
        answer = await source.rooms()
        assert texts(answer, room) == ["only this"]
        assert answer["rooms"]["join"][room]["state"]["events"] == []


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({"since": "x"}, "M_INVALID_PARAM"),
        ({"filter": "unknown"}, "M_INVALID_PARAM"),
        ({"filter": "{"}, "M_NOT_JSON"),
        ({"set_presence": "away"}, "M_INVALID_PARAM"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_is_sent(
    server: TestServer, alice: Client, query: dict[str, str], errcode: str
) -> None:
    (await alice.get(f"{PREFIX}/events", **query)).error(400, errcode)
    opening = {"access_token": alice.access_token, **query}
    async with web_socket(alice, opening=opening) as socket:
        told = await socket.message()
        assert told["errcode"] == ("M_BAD_JSON" if "set_presence" in query else errcode)
        assert await socket.goodbye() == (4400, told["errcode"])
    assert count(server) == 0


async def test_silence_is_broken_by_heartbeats(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_MS", 50)
    elsewhere = await bob.create_room()
    since = (await alice.sync())["next_batch"]
    async with event_source(alice, since=since) as source:
        await source.event()
        # What others do moves the point from which the client goes on, without any data.
        await bob.send(elsewhere, "not for alice")
        while (event := await source.event()) == ServerEvent():
            pass
        assert event == ServerEvent(id=event.id)
        assert event.id is not None
        assert int(event.id[1:]) > int(since[1:])
        assert await source.event() == ServerEvent()
        assert "rooms" not in await alice.sync(event.id)


async def test_a_slow_reader_is_not_read_for(server: TestServer, alice: Client, bob: Client) -> None:
    """The next answer is made when the one before has been taken: what accumulates is one answer."""
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    async with event_source(alice, since=(await alice.sync())["next_batch"]) as source:
        await source.event()
        source.raw.stop_reading()
        (stream,) = server.server.services.syncing.streams._open[alice.user_id]  # type: ignore[index]  # JSON
        large = "x" * 60_000
        sizes = []
        for number in range(160):
            await bob.send(room, f"{number} {large}")
            sizes.append(stream.since)
        await turns()
        # It has stopped somewhere: 10 MB are more than the buffers of a connection take.
        stopped = stream.since
        await bob.send(room, "last")
        await turns()
        assert stream.since == stopped
        source.raw.go_on_reading()
        seen: list[str] = []
        while "last" not in seen:
            answer = await source.rooms()
            timeline = answer["rooms"]["join"][room]["timeline"]
            if timeline["limited"]:
                # What does not fit into one answer is to be fetched, as ever.
                assert timeline["prev_batch"]
            seen += texts(answer, room)
        numbers = [int(text.split()[0]) for text in seen if text != "last"]
        assert numbers == sorted(set(numbers))


async def test_a_logout_ends_the_streams_of_the_device_at_once(
    server: TestServer, alice: Client, bob: Client
) -> None:
    other = await server.device(alice)
    async with event_source(alice) as source, event_source(other) as others:
        for each in (source, others):
            await each.answer()
        opening = {"access_token": alice.access_token}
        async with web_socket(alice, opening=opening) as socket:
            await socket.message()
            (await alice.post(path_of("logout"))).ok()
            *_, last = await source.end()
            assert last.kind == "error"
            assert (last.data["errcode"], last.data["soft_logout"]) == ("M_UNKNOWN_TOKEN", False)
            assert (await socket.message())["errcode"] == "M_UNKNOWN_TOKEN"
            assert await socket.goodbye() == (4401, "M_UNKNOWN_TOKEN")
        # The other device goes on.
        room = await other.create_room()
        await other.send(room, "still here")
        while "still here" not in texts(await others.rooms(), room):
            pass
    (await alice.get(f"{PREFIX}/events")).error(401, "M_UNKNOWN_TOKEN")


async def test_a_locked_account_and_a_closed_one_end_at_once(
    server: TestServer, alice: Client, bob: Client
) -> None:
    admin = await server.user("admin", admin=True)
    async with event_source(alice) as source, event_source(bob) as others:
        for each in (source, others):
            await each.answer()
        lock = f"/_matrix/client/v1/admin/lock/{alice.user_id}"
        (await admin.put(lock, {"locked": True})).ok()
        assert (await source.end())[-1].data["errcode"] == "M_USER_LOCKED"
        auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": bob.user_id}}
        body = {"auth": {**auth, "password": PASSWORD}}
        (await bob.post(path_of("account", "deactivate"), body)).ok()
        assert (await others.end())[-1].data["errcode"] == "M_UNKNOWN_TOKEN"


async def test_a_web_socket_says_the_same(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await alice.sync())["next_batch"]
    wanted = {"room": {"timeline": {"not_types": ["org.example.unwanted"]}}}
    opening = {"access_token": alice.access_token, "since": since, "filter": wanted}
    async with web_socket(alice, "Origin: https://app.example", opening=opening) as socket:
        assert socket.head.status == 101
        assert socket.head.headers["upgrade"] == "websocket"
        assert socket.head.headers["connection"] == "Upgrade"
        # RFC 6455, 1.3: the answer to this key.
        assert socket.head.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        await bob.send_event(room, "org.example.unwanted", {})
        await bob.send(room, "m0")
        assert texts(await socket.rooms(), room) == ["m0"]
        assert texts(await alice.sync(since, filter=wanted), room) == ["m0"]
        socket.send({"set_presence": "unavailable"})
        socket.event(Ping(b"are you there?"))
        assert await socket.received() == Pong(b"are you there?")
        presence: Any = {}
        while presence.get("presence") != "unavailable":
            await bob.send(room, "and?")
            await socket.message()
            presence = (await bob.get(path_of("presence", alice.user_id, "status"))).ok()
        socket.event(CloseConnection(1000))
        while not isinstance(event := await socket.received(), CloseConnection):
            pass
        assert event.code == 1000
        await socket.raw.closed()
    assert count(server) == 0


async def test_the_token_of_a_web_socket_may_stand_in_the_header(alice: Client) -> None:
    header = f"Authorization: Bearer {alice.access_token}"
    async with web_socket(alice, header, opening={}) as socket:
        assert "next_batch" in await socket.message()
    async with web_socket(alice, "Authorization: Bearer wrong") as socket:
        assert socket.head.status == 401
    for opening, code in (({}, "M_MISSING_TOKEN"), ({"access_token": "wrong"}, "M_UNKNOWN_TOKEN")):
        async with web_socket(alice, opening=opening) as socket:
            assert (await socket.message())["errcode"] == code
            assert await socket.goodbye() == (4401, code)


async def test_a_ping_may_come_before_the_first_message_and_within_it(alice: Client) -> None:
    """Between the fragments of a message: RFC 6455, 5.4."""
    async with web_socket(alice) as socket:
        socket.event(Ping(b"before"))
        assert await socket.received() == Pong(b"before")
        opening = json.dumps({"access_token": alice.access_token})
        socket.event(TextMessage(opening[:10], message_finished=False))
        socket.event(Ping(b"within"))
        assert await socket.received() == Pong(b"within")
        socket.event(TextMessage(opening[10:]))
        assert "next_batch" in await socket.message()


async def test_who_says_nothing_in_time_is_told_so(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_streams, "PATIENCE_S", 0.05)
    async with web_socket(alice) as socket:
        assert (await socket.message())["errcode"] == "M_UNKNOWN"
        assert await socket.goodbye() == (4408, "M_UNKNOWN")


async def test_pings_give_no_more_time_for_the_first_message() -> None:
    clock = Clock()
    socket = WebSocket(clock)

    async def answers() -> list[bytes]:
        return [frame async for frame in socket.until_message(within_s=10)]

    found = Deferred.fromCoroutine(answers())
    for _ in range(9):
        clock.advance(1)
        socket.receive(b"\x89\x80\0\0\0\0")
    assert not found.called
    clock.advance(1)
    assert await found == [b"\x8a\0"] * 9
    assert socket.received() is None


async def test_what_comes_together_with_the_first_message_is_heeded_at_once(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither waits for news nor for a heartbeat."""
    monkeypatch.setattr(streams, "HEARTBEAT_MS", 600_000)
    await bob.join(await alice.create_room(preset="public_chat"))
    since = (await alice.sync((await alice.sync())["next_batch"]))["next_batch"]
    opening = {"access_token": alice.access_token, "since": since}
    async with web_socket(alice) as socket:
        texts_sent = [TextMessage(json.dumps(each)) for each in (opening, {"set_presence": "unavailable"})]
        data = [bytes(socket.connection.send(each)) for each in (*texts_sent, Ping(b"here"))]
        socket.raw.send(b"".join(data))
        while not isinstance(event := await socket.received(), Pong):
            pass
        assert event.payload == b"here"
        presence: Any = {}
        while presence.get("presence") != "unavailable":
            presence = (await bob.get(path_of("presence", alice.user_id, "status"))).ok()


async def test_messages_are_measured_in_bytes(alice: Client) -> None:
    opening = json.dumps({"access_token": alice.access_token, "x": "\U0001f600" * 10_000}, ensure_ascii=False)
    opening += " " * (MOST_BYTES - len(opening.encode()))
    for more, is_right in (("", True), (" ", False)):
        async with web_socket(alice) as socket:
            socket.event(TextMessage(opening[:5_000], message_finished=False))
            socket.event(TextMessage(opening[5_000:] + more))
            if is_right:
                assert "next_batch" in await socket.message()
            else:
                assert (await socket.goodbye())[0] == 1009


def test_empty_fragments_take_no_memory() -> None:
    """They may be as many as a client likes, whoever it is."""
    socket = WebSocket(Clock())
    # The first part of a text, parts in the middle, and the last one: all masked with nothing.
    socket.receive(b"\x01\x81\0\0\0\0{")
    tracemalloc.start()
    try:
        for _ in range(20):
            socket.receive(b"\x00\x80\0\0\0\0" * 1_000)
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()
    socket.receive(b"\x80\x81\0\0\0\0}")
    assert socket.received() == b"{}"


async def test_messages_that_are_none(alice: Client) -> None:
    for opening, code in (("{", "M_NOT_JSON"), ("[]", "M_BAD_JSON"), ({"since": 5}, "M_BAD_JSON")):
        async with web_socket(alice, opening=opening) as socket:
            assert (await socket.message())["errcode"] == code
            assert await socket.goodbye() == (4400, code)
    good = {"access_token": alice.access_token}
    async with web_socket(alice, opening=good) as socket:
        await socket.message()
        socket.send({"set_presence": "away"})
        assert (await socket.message())["errcode"] == "M_BAD_JSON"
        assert (await socket.goodbye())[0] == 4400
    for event, number in ((BytesMessage(b"x"), 1003), (TextMessage("x" * 70_000), 1009)):
        for first in (None, good):
            async with web_socket(alice, opening=first) as socket:
                if first is not None:
                    await socket.message()
                socket.event(event)
                assert (await socket.goodbye())[0] == number
    async with web_socket(alice, opening=good) as socket:
        await socket.message()
        socket.raw.send(b"\xff\xff\xff\xff no frame")
        assert (await socket.goodbye())[0] == 1002


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Connection": "Upgrade", "Upgrade": "h2c"},
        {"Connection": "Upgrade", "Upgrade": "websocket"},
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8"},
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "c2hvcnQ=",
        },
    ],
)
async def test_what_is_no_handshake(alice: Client, headers: dict[str, str]) -> None:
    status = 400 if "Sec-WebSocket-Version" in headers and headers["Sec-WebSocket-Version"] == "13" else 426
    answer = await alice.request("GET", f"{PREFIX}/socket", headers=headers)
    answer.error(status, "M_UNKNOWN")
    # RFC 6455, 4.2.2: the version that would be understood.
    assert answer.headers["sec-websocket-version"] == "13"


async def test_a_client_that_answers_no_ping_is_gone(
    server: TestServer, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_MS", 50)
    opening = {"access_token": alice.access_token}
    async with web_socket(alice, opening=opening) as socket:
        await socket.message()
        while socket.pings < 3:
            done: Deferred[Any] = Deferred.fromCoroutine(socket.received())
            await until(lambda: socket.pings >= 3 or done.called)  # noqa: B023 - of this turn
            done.addErrback(lambda _: None)
        socket.answers_pings = False
        await socket.raw.closed()
    await until(lambda: count(server) == 0)


async def test_too_many_streams_end_the_oldest(
    server: TestServer, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    async with event_source(alice) as first, event_source(alice) as second:
        for each in (first, second):
            await each.answer()
        async with event_source(alice) as third:
            await third.answer()
            assert (await first.end())[-1].data["errcode"] == "M_LIMIT_EXCEEDED"
            room = await alice.create_room()
            for each in (second, third):
                assert room in (await each.rooms())["rooms"]["join"]
            assert count(server) == 2


async def test_a_server_that_stops_says_so_and_what_was_missed_is_told_by_the_next(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    async with contextlib.AsyncExitStack() as connections:
        async with running_server(database_url, tmp_path, specification) as server:
            alice, bob = await server.user("alice"), await server.user("bob")
            room = await alice.create_room(preset="public_chat")
            await bob.join(room)
            source = await connections.enter_async_context(event_source(alice))
            since = (await source.rooms())["next_batch"]
            opening = {"access_token": alice.access_token}
            socket = await connections.enter_async_context(web_socket(alice, opening=opening))
            await socket.message()
        assert all(event.kind is None for event in await source.end())
        while not isinstance(event := await socket.received(), CloseConnection):
            pass
        assert event.code == 1001
    async with running_server(database_url, tmp_path, specification) as server:
        alice, bob = (attrs.evolve(each, base_url=server.base_url, pool=server.pool) for each in (alice, bob))
        await bob.send(room, "meanwhile")
        async with event_source(alice, f"Last-Event-ID: {since}") as source:
            assert await collect(source, room, 1) == ["meanwhile"]


async def test_no_token_is_logged(
    server: TestServer, alice: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    opening = {"access_token": alice.access_token}
    async with web_socket(alice, opening=opening) as socket:
        await socket.message()
    async with event_source(
        attrs.evolve(alice, access_token=None), access_token=alice.access_token
    ) as source:
        assert source.head.status in (200, 401)
    await until(lambda: count(server) == 0)
    await turns()
    logged = capsys.readouterr().out
    assert "/socket" in logged
    assert alice.access_token is not None
    assert alice.access_token not in logged


async def test_a_user_sees_only_the_own_rooms(server: TestServer, alice: Client, bob: Client) -> None:
    """The stream follows what the user is in at each moment."""
    room = await bob.create_room(preset="public_chat")
    async with event_source(alice, since=(await alice.sync())["next_batch"]) as source:
        await bob.send(room, "before")
        await alice.join(room)
        assert room in (await source.rooms())["rooms"]["join"]
        await bob.send(room, "while")
        assert texts(await source.rooms(), room) == ["while"]
        (await bob.post(room_path(room, "kick"), {"user_id": alice.user_id})).ok()
        assert room in (await source.rooms())["rooms"]["leave"]
        await bob.send(room, "after")
        own = await alice.create_room()
        answer = await source.rooms()
        assert own in answer["rooms"]["join"]
        assert room not in answer["rooms"].get("join", {})


async def test_without_the_database_the_client_is_to_come_back(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client of `/sync` is told by 503."""
    room = await alice.create_room(preset="public_chat")
    opening = {"access_token": alice.access_token}
    async with event_source(alice) as source, web_socket(alice, opening=opening) as socket:
        await source.rooms()
        await socket.rooms()

        async def away(*_: Any, **__: Any) -> Any:
            raise StorageUnavailable("the database is away")

        monkeypatch.setattr(Sync, "sync", away)
        await bob.join(room)
        last = (await source.end())[-1]
        assert (last.kind, last.data["errcode"]) == ("error", "M_UNKNOWN")
        while "errcode" not in (told := await socket.message()):
            pass
        assert told["errcode"] == "M_UNKNOWN"
        assert await socket.goodbye() == (4503, "M_UNKNOWN")
