"""Connections: patience with slow clients, and back-pressure."""

import pytest

from homeserver.http.limits import HttpLimits
from tests.api.http_harness import request, turns, until
from tests.api.http_slow import BIG, LIMITS, only, slow_server


async def test_a_connection_on_which_nothing_comes_is_closed() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        server.pass_time(LIMITS.head_ms - 1)
        await turns()
        assert not client.is_closed
        server.pass_time(1)
        await client.closed()
        assert client.received == b""


@pytest.mark.parametrize(
    ("start", "drops"),
    [
        (b"G", (b"E", b"T", b" ")),
        (b"GET /quick HTTP/1.1\r\n", (b"a", b"a", b"a")),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: a", (b"a", b"a", b"a")),
        (b"\r\n", (b"\r\n", b"\r\n", b"\r\n")),
    ],
)
async def test_a_header_has_a_time_limit_however_steadily_it_drips(start: bytes, drops: tuple[bytes]) -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        client.send(start)
        await until(lambda: not only(server).is_idle)
        deadline = only(server).deadline_ms
        for drop in drops:
            server.pass_time(100)
            client.send(drop)
            await turns()
            assert only(server).deadline_ms == deadline
        server.pass_time(deadline - server.clock.now_ms)
        reply = await client.read_reply()
        assert reply.status == 408
        assert reply.headers["connection"] == "close"
        await client.closed()


async def test_a_second_header_has_the_same_limit_from_its_first_byte() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        await client.get("/quick")
        server.pass_time(LIMITS.idle_ms - 1)
        client.send(b"GET")
        await until(lambda: not only(server).is_idle)
        server.pass_time(LIMITS.head_ms - 1)
        await turns()
        assert not client.is_closed
        server.pass_time(1)
        assert (await client.read_reply()).status == 408


async def test_a_connection_between_requests_is_closed_after_a_while_without_a_word() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        await client.get("/quick")
        server.pass_time(LIMITS.idle_ms - 1)
        await client.get("/quick")
        server.pass_time(LIMITS.idle_ms)
        await client.closed()
        assert client.received == b""


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_stalls_is_given_up(chunked: bool) -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 10000"
        client.send(request("POST", "/quick", framing))
        await until(lambda: only(server)._parser.head)
        sent = 0
        for _ in range(3):
            server.pass_time(LIMITS.body_stall_ms - 1)
            client.send(b"7d0\r\n" + b"a" * 2_000 + b"\r\n" if chunked else b"a" * 2_000)
            sent += 2_000
            await until(lambda: only(server)._parser.received_body_bytes == sent)  # noqa: B023 - awaited at once
        server.pass_time(LIMITS.body_stall_ms - 1)
        await turns()
        assert client.received == b""
        server.pass_time(1)
        assert (await client.read_reply()).status == 408


async def test_a_body_that_only_drips_is_given_up() -> None:
    """Each byte comes in time, all of them together do not."""
    async with slow_server() as (server, _):
        client = await server.connect()
        client.send(request("POST", "/quick", "Content-Length: 100"))
        await until(lambda: only(server)._parser.head)
        for count in range(1, 100):
            client.send(b"a")
            await until(lambda: client.received or only(server)._parser.received_body_bytes == count)  # noqa: B023 - awaited at once
            if client.received:
                break
            server.pass_time(500)
        assert (await client.read_reply()).status == 408
        assert count < 7


async def test_chunk_extensions_without_a_body_are_no_progress() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        client.send(request("POST", "/quick", "Transfer-Encoding: chunked") + b"1")
        await until(lambda: only(server)._parser.head)
        first = only(server).deadline_ms
        server.clock.now_ms += 1_000
        client.send(b";a")
        await turns()
        assert only(server).deadline_ms == first


async def test_a_running_request_has_all_the_time_that_it_needs() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("GET", "/gated"))
        await until(lambda: slow.started)
        server.pass_time(10_000_000)
        await turns()
        slow.gate.callback(None)
        assert (await client.read_reply()).status == 200


@pytest.mark.parametrize("path", ["/big", "/stream/1000"])
async def test_a_client_that_does_not_take_its_response_is_cut(path: str) -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.stop_reading()
        client.send(request("GET", path))
        await until(lambda: only(server)._written is not None)
        server.pass_time(LIMITS.write_stall_ms - 1)
        await turns()
        assert len(server.server.connections) == 1
        # Buffers on the way may still take in something, which counts as progress; some day they are full.
        while len(server.server.connections):
            server.pass_time(LIMITS.write_stall_ms)
            await turns()
        assert slow.sent_parts < 1000
        await until(lambda: slow.closed_streams == (path != "/big"))


@pytest.mark.parametrize("path", ["/big", "/stream/80"])
async def test_a_slow_client_that_goes_on_reading_gets_everything(path: str) -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        client.stop_reading()
        client.send(request("GET", path) + request("GET", "/quick"))
        await until(lambda: only(server)._written is not None)
        while only(server)._written is not None:
            server.pass_time(LIMITS.write_stall_ms - 1)
            before = only(server).deadline_ms
            client.go_on_reading()
            await until(lambda: only(server).deadline_ms > before)  # noqa: B023 - awaited at once
            client.stop_reading()
        client.go_on_reading()
        await client.until(lambda: client.received.endswith(b"{}"))
        assert client.received.count(b"x") >= BIG
        assert client.received.endswith(b"\r\n\r\n{}")


async def test_a_client_that_sends_but_does_not_read_gets_nothing_piled_up() -> None:
    """Requests wait for the responses before them, and bytes wait in the client's own buffers."""
    async with slow_server() as (server, _):
        client = await server.connect()
        client.stop_reading()
        client.send(request("GET", "/big") * 50_000)
        await until(lambda: only(server)._written is not None)
        await until(lambda: len(only(server)._held) > LIMITS.held_bytes)
        await turns(200)
        assert len(only(server)._held) <= LIMITS.held_bytes + 65_536
        assert len(only(server)._writer._rest) <= BIG


async def test_what_is_pipelined_behind_a_long_poll_is_held_within_bounds() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        count = 20_000
        client.send(request("GET", "/gated") + request("GET", "/quick") * count)
        await until(lambda: slow.started and len(only(server)._held) > LIMITS.held_bytes)
        await turns(200)
        assert len(only(server)._held) <= LIMITS.held_bytes + 65_536
        slow.gate.callback(None)
        assert (await client.read_reply()).body == b'{"gated":true}'
        await client.until(lambda: client.received.count(b"HTTP/1.1 200") == count)


async def test_more_connections_than_allowed_are_closed() -> None:
    async with slow_server(limits=HttpLimits(connections=2)) as (server, _):
        first, second = await server.connect(), await server.connect()
        third = await server.connect_only()
        await third.closed()
        assert (await first.get("/quick")).status == 200
        second.close()
        await until(lambda: len(server.server.connections) == 1)
        assert (await (await server.connect()).get("/quick")).status == 200


async def test_after_a_refusal_what_is_still_sent_is_dropped_for_a_while() -> None:
    """Else the reset could overtake the answer."""
    async with slow_server() as (server, _):
        client = await server.connect()
        client.send(request("POST", "/quick", "Content-Length: 1000000000"))
        client.send(b"a" * 1_000_000)
        reply = await client.read_reply()
        assert reply.status == 413
        assert reply.headers["connection"] == "close"


async def test_a_client_that_ignores_a_refusal_is_cut() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        client.stop_reading()
        client.send(request("POST", "/quick", "Content-Length: 1000000000") + b"a" * 100)
        await until(lambda: only(server)._is_closing)
        server.pass_time(LIMITS.closing_ms)
        await until(lambda: not len(server.server.connections))
