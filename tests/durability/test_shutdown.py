"""SIGTERM: waiting clients are answered, nothing is lost, and the process is gone soon."""

import signal
import socket
import time
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, gatherResults

from tests.api.server import Client, path_of, room_path
from tests.processes import ServerProcess

SOON_S = 5.0


async def waiting(clients: list[Client], tokens: list[str]) -> list[Deferred[object]]:
    """Polls that wait: the server has taken them up when it has answered as many later requests."""
    polls = [
        # The presence of the others would be news.
        Deferred.fromCoroutine(client.sync(token, timeout=120_000, set_presence="offline"))
        for client, token in zip(clients, tokens, strict=True)
    ]
    for _ in range(2):
        await gatherResults(
            [Deferred.fromCoroutine(client.get(path_of("account", "whoami"))) for client in clients]
        )
    assert not any(poll.called for poll in polls)
    return polls


async def test_waiting_polls_are_answered(process: ServerProcess) -> None:
    clients = [await process.door().user(f"user{number}") for number in range(8)]
    room = await clients[0].create_room(preset="public_chat")
    for client in clients[1:]:
        await client.join(room)
    tokens = [(await client.sync(set_presence="offline"))["next_batch"] for client in clients]
    polls = await waiting(clients, tokens)
    started = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - started < SOON_S
    answers = await gatherResults(polls)
    assert process.complaints == []

    await process.start()
    await process.client(clients[0]).send(room, "hello")
    for client, answer in zip(clients, answers, strict=True):
        assert isinstance(answer, dict)
        assert "rooms" not in answer
        after = await process.client(client).sync(answer["next_batch"], set_presence="offline")
        (event,) = after["rooms"]["join"][room]["timeline"]["events"]
        assert event["content"]["body"] == "hello"


async def test_idle_and_silent_connections_do_not_hold_it_up(process: ServerProcess) -> None:
    alice = await process.door().user("alice")
    (await alice.get(path_of("account", "whoami"))).ok()
    port = urlsplit(process.url).port
    silent = [socket.create_connection(("127.0.0.1", port or 0)) for _ in range(5)]
    silent[0].sendall(b"GET /_matrix/client/vers")
    silent[1].sendall(
        b"PUT /_matrix/client/v3/profile/x/displayname HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"
    )
    started = time.monotonic()
    try:
        assert await process.stop() == 0
    finally:
        for each in silent:
            each.close()
    assert time.monotonic() - started < SOON_S
    assert process.complaints == []


async def test_a_second_signal_changes_nothing(process: ServerProcess) -> None:
    alice = await process.door().user("alice")
    (poll,) = await waiting([alice], [(await alice.sync(set_presence="offline"))["next_batch"]])
    process.signal(signal.SIGINT)
    assert await process.stop() == 0
    await poll
    assert process.complaints == []


async def test_what_is_running_is_finished(process: ServerProcess) -> None:
    """Requests that have been sent when the signal comes are answered, or their connection is closed unread."""
    alice = await process.door().user("alice")
    room = await alice.create_room()

    async def send(number: int) -> str | None:
        try:
            return await alice.send(room, f"m{number}")
        except Exception:  # noqa: BLE001 - the server is going
            return None

    first = Deferred.fromCoroutine(send(0))
    rest = [Deferred.fromCoroutine(send(number)) for number in range(1, 60)]
    assert await first
    assert await process.stop() == 0
    acknowledged = {event_id for event_id in await gatherResults(rest) if event_id}
    assert process.complaints == []
    await process.start()
    page = await process.client(alice).get(room_path(room, "messages"), dir="f", limit=1000)
    stored = [event["event_id"] for event in page.ok()["chunk"]]
    assert acknowledged <= set(stored)
    assert len(set(stored)) == len(stored)
