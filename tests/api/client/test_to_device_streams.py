"""Messages to devices over streams: what was sent is not received for that."""

import json
from typing import Any

import pytest
from wsproto.events import CloseConnection, TextMessage

from homeserver.services.sync import streams
from tests.api.client.stream_harness import EventSource, Socket, event_source, web_socket
from tests.api.server import Client
from tests.to_device import send_all, send_to, texts_in


async def collect(source: EventSource | Socket, number: int) -> tuple[list[Any], list[str]]:
    """The next messages, and the tokens that they came with."""
    found: list[Any] = []
    tokens: list[str] = []
    while len(found) < number:
        answer = await (source.answer() if isinstance(source, EventSource) else source.message())
        if texts_in(answer):
            found += texts_in(answer)
            tokens.append(answer["next_batch"])
    return found, tokens


async def test_a_stream_goes_on_from_the_token_of_any_answer(alice: Client, bob: Client) -> None:
    since = (await bob.sync())["next_batch"]
    async with event_source(bob, since=since) as source:
        for number in range(3):
            await send_to(alice, bob, number)
            assert (await collect(source, 1))[0] == [number]
        await send_to(alice, bob, 3)
        _, (token,) = await collect(source, 1)
    # Nothing has been acknowledged.
    assert texts_in(await bob.sync()) == [0, 1, 2, 3]
    async with event_source(bob, since=since) as source:
        assert (await collect(source, 4))[0] == [0, 1, 2, 3]
    async with event_source(bob, f"Last-Event-ID: {token}") as source:
        await send_to(alice, bob, 4)
        assert (await collect(source, 1))[0] == [4]
    assert texts_in(await bob.sync()) == [4]


async def test_many_come_in_answers_that_follow_at_once(alice: Client, bob: Client) -> None:
    await send_all(alice, bob, range(250))
    async with event_source(bob) as source:
        found, tokens = await collect(source, 250)
    assert found == [*range(250)]
    assert len(tokens) == 3
    async with event_source(bob, f"Last-Event-ID: {tokens[0]}") as source:
        assert (await collect(source, 150))[0] == [*range(100, 250)]
    assert texts_in(await bob.sync())[0] == 100


async def test_a_socket_says_what_it_has_received(alice: Client, bob: Client) -> None:
    async with web_socket(bob, opening={"access_token": bob.access_token}) as socket:
        await send_to(alice, bob, "one")
        _, (first,) = await collect(socket, 1)
        await send_to(alice, bob, "two")
        await collect(socket, 1)
        assert texts_in(await bob.sync()) == ["one", "two"]
        socket.send({"received": first})
        await send_to(alice, bob, "three")
        await collect(socket, 1)
        assert texts_in(await bob.sync()) == ["two", "three"]
        # What it has not been given, it cannot have.
        position = int(first[1:]) + 1_000
        socket.send({"received": f"s{position}"})
        await send_to(alice, bob, "four")
        await collect(socket, 1)
        assert texts_in(await bob.sync()) == ["two", "three", "four"]
        socket.send({"received": "nonsense"})
        assert (await socket.message())["errcode"] == "M_INVALID_PARAM"


async def test_who_never_says_so_is_to_connect_anew(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_UNACKNOWLEDGED", 10)
    await send_all(alice, bob, range(12))
    async with event_source(bob) as source:
        _, (token,) = await collect(source, 12)
        assert await source.end() == []
    await send_to(alice, bob, 12)
    async with event_source(bob, f"Last-Event-ID: {token}") as source:
        assert (await collect(source, 1))[0] == [12]
    async with web_socket(bob, opening={"access_token": bob.access_token}) as socket:
        _, tokens = await collect(socket, 1)
        for number in range(30):
            socket.send({"received": tokens[-1]})
            await send_to(alice, bob, number)
            found, tokens = await collect(socket, 1)
            assert found == [number]
        await send_all(alice, bob, range(15))
        await collect(socket, 9)
        while "errcode" not in (answer := await _next(socket)):
            assert texts_in(answer) or answer == {"next_batch": answer["next_batch"]}
        assert answer["errcode"] == 1001


async def _next(socket: Socket) -> Any:
    """The next message, or the code with which the server closes."""
    event = await socket.received()
    if isinstance(event, CloseConnection):
        return {"errcode": int(event.code)}
    assert isinstance(event, TextMessage)
    return json.loads(event.data)
