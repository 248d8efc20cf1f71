"""Connections: patience, back-pressure, clients that go away, and the end of the server."""

import contextlib
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest
import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from homeserver.http.addresses import TrustedProxies
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.limits import HttpLimits
from homeserver.http.request import Request
from homeserver.http.response import Response
from tests.api.http_harness import REACTOR, RawClient, ServerUnderTest, request, serving, turns, until

BIG = 8_000_000
"""More than the buffers of a connection over loopback take."""


@attrs.define
class Slow:
    """Endpoints that take their time, as the test wants it."""

    started: int = 0
    finished: int = 0
    disconnected: int = 0
    closed_streams: int = 0
    sent_parts: int = 0
    gate: "Deferred[None]" = attrs.field(factory=Deferred)

    @endpoint("GET", "/quick", auth=Auth.NONE)
    async def quick(self) -> dict[str, Any]:
        return {}

    @endpoint("POST", "/quick", auth=Auth.NONE)
    async def post(self, body: bytes) -> dict[str, Any]:
        return {"size": len(body)}

    @endpoint("GET", "/gated", auth=Auth.NONE)
    async def gated(self) -> dict[str, Any]:
        self.started += 1
        await self.gate
        self.finished += 1
        return {"gated": True}

    @endpoint("GET", "/poll", auth=Auth.NONE)
    async def poll(self, request: Request) -> dict[str, Any]:
        """A long poll: ends early if the client goes or the server closes."""
        self.started += 1
        done: Deferred[str] = Deferred()
        gone, closing = request.disconnected, request.closing
        gone.addCallbacks(lambda _: done.callback("gone"), lambda _: None)
        closing.addCallbacks(lambda _: done.callback("closing"), lambda _: None)
        why = await done
        gone.cancel()
        closing.cancel()
        self.disconnected += why == "gone"
        self.finished += 1
        return {"why": why}

    @endpoint("GET", "/big", auth=Auth.NONE)
    async def big(self) -> Response:
        return Response(200, (), b"x" * BIG)

    @endpoint("GET", "/stream/{parts}", auth=Auth.NONE)
    async def stream(self, parts: int) -> Response:
        return Response(200, ((b"Content-Type", b"text/plain"),), self._parts(parts, b"x" * 100_000))

    @endpoint("GET", "/sized/{promised}", auth=Auth.NONE)
    async def sized(self, promised: int) -> Response:
        return Response(200, ((b"Content-Length", b"%d" % promised),), self._parts(2, b"abc"))

    @endpoint("GET", "/events", auth=Auth.NONE)
    async def events(self) -> Response:
        return Response(200, (), self._events())

    @endpoint("GET", "/broken", auth=Auth.NONE)
    async def broken(self) -> Response:
        return Response(200, (), self._broken())

    async def _parts(self, count: int, part: bytes) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(count):
                self.sent_parts += 1
                yield part
                yield b""
        finally:
            await deferLater(REACTOR, 0)
            self.closed_streams += 1

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            self.started += 1
            await self.gate
            yield b"second"
        except CancelledError:
            self.disconnected += 1
            raise
        finally:
            self.closed_streams += 1

    async def _broken(self) -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise ZeroDivisionError


LIMITS = HttpLimits(
    head_ms=1_000, body_stall_ms=2_000, body_bytes_per_second=1_000, idle_ms=5_000, write_stall_ms=7_000
)


@contextlib.asynccontextmanager
async def slow_server(**kwargs: Any) -> AsyncGenerator[tuple[ServerUnderTest, Slow], None]:
    slow = Slow()
    async with serving(slow, limits=kwargs.pop("limits", LIMITS), **kwargs) as server:
        yield server, slow


def only(server: ServerUnderTest) -> Any:
    (connection,) = server.connections()
    return connection


# Clients that are slow


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
            await until(lambda: only(server)._parser.received_body_bytes == sent)  # noqa: B023
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
            await until(lambda: client.received or only(server)._parser.received_body_bytes == count)  # noqa: B023
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
            await until(lambda: only(server).deadline_ms > before)  # noqa: B023
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


# Clients that go away


async def test_a_long_poll_learns_that_its_client_is_gone() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("GET", "/poll"))
        await until(lambda: slow.started)
        client.close()
        await until(lambda: slow.finished)
        assert slow.disconnected == 1


async def test_a_request_that_does_not_care_is_finished_without_its_client() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("GET", "/gated"))
        await until(lambda: slow.started)
        client.close()
        await until(lambda: not len(server.server.connections))
        slow.gate.callback(None)
        await until(lambda: slow.finished)


async def test_a_stream_is_cancelled_when_its_client_goes() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("GET", "/events"))
        await client.until(lambda: b"first" in client.received and slow.started)
        client.close()
        await until(lambda: slow.closed_streams)
        assert slow.disconnected == 1


async def test_disconnected_fires_at_once_if_the_client_has_gone_before() -> None:
    found: list[bool] = []
    gate: Deferred[None] = Deferred()

    @attrs.frozen
    class Late:
        @endpoint("GET", "/", auth=Auth.NONE)
        async def get(self, request: Request) -> dict[str, Any]:
            await gate
            found.append(request.is_disconnected)
            await request.disconnected
            await request.disconnected
            found.append(True)
            return {}

    async with serving(Late()) as server:
        client = await server.connect()
        client.send(request("GET", "/"))
        await until(lambda: only(server)._request is not None)
        client.close()
        await until(lambda: not len(server.server.connections))
        gate.callback(None)
        await until(lambda: len(found) == 2)
        assert found == [True, True]


@pytest.mark.parametrize("data", [b"", b"GET", request("GET", "/quick"), request("GET", "/poll")])
async def test_a_client_that_resets_the_connection_with_its_last_breath_is_noticed(data: bytes) -> None:
    """Also where data and reset arrive together, of which uvloop tells only the first."""
    async with slow_server() as (server, slow):
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", server.number))
            await until(server.connections)
            client.send(data)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await turns(5)
            server.pass_time(LIMITS.head_ms)
            await until(lambda: not server.connections())
        assert slow.disconnected == slow.started


# Streams


async def read_chunks(client: RawClient) -> bytes:
    body = b""
    while True:
        await client.until(lambda: b"\r\n" in client.received)
        size_text, client.received = client.received.split(b"\r\n", 1)
        size = int(size_text, 16)
        await client.until(lambda: len(client.received) >= size + 2)  # noqa: B023
        body += client.received[:size]
        assert client.received[size : size + 2] == b"\r\n"
        client.received = client.received[size + 2 :]
        if not size:
            return body


async def test_a_stream_is_sent_in_chunks_as_they_come() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("GET", "/events"))
        head = await client.read_head()
        assert head.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in head.headers
        await client.until(lambda: client.received == b"5\r\nfirst\r\n")
        slow.gate.callback(None)
        assert await read_chunks(client) == b"firstsecond"
        assert slow.closed_streams == 1
        assert (await client.get("/quick")).status == 200


async def test_empty_parts_do_not_end_a_stream() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("GET", "/stream/3"))
        await client.read_head()
        assert await read_chunks(client) == b"x" * 300_000
        await until(lambda: slow.closed_streams)


async def test_a_stream_of_known_size_needs_no_chunks() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        assert (await client.get("/sized/6")).body == b"abcabc"
        assert (await client.get("/quick")).status == 200


async def test_a_stream_to_an_old_client_ends_with_the_connection() -> None:
    async with slow_server() as (server, _):
        client = await server.connect()
        client.send(b"GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head = await client.read_head()
        assert head.headers["connection"] == "close"
        assert "transfer-encoding" not in head.headers
        await client.closed()
        assert client.received == b"x" * 300_000


async def test_head_of_a_stream_does_not_start_it() -> None:
    async with slow_server() as (server, slow):
        client = await server.connect()
        client.send(request("HEAD", "/stream/3"))
        assert (await client.read_reply(has_body=False)).status == 200
        assert slow.sent_parts == 0
        assert (await client.get("/quick")).status == 200


@pytest.mark.parametrize("path", ["/broken", "/sized/5", "/sized/7"])
async def test_a_stream_that_fails_is_seen_to_be_incomplete(path: str) -> None:
    with structlog.testing.capture_logs() as lines:
        async with slow_server() as (server, _):
            client = await server.connect()
            client.send(request("GET", path) + request("GET", "/quick"))
            await client.closed()
        assert [line["event"] for line in lines] == ["response failed", "request"]
        assert lines[-1]["status"] == 500
        assert client.is_reset
        assert b"0\r\n\r\n" not in client.received
        assert client.received.count(b"HTTP/1.1") <= 1


# The end


async def test_shutdown_lets_requests_finish_and_polls_answer_early() -> None:
    async with slow_server() as (server, slow):
        idle, fresh = await server.connect(), await server.connect()
        await idle.get("/quick")
        half, poll, gated = await server.connect(), await server.connect(), await server.connect()
        half.send(b"GET /quick HTTP/1.1\r\n")
        poll.send(request("GET", "/poll"))
        gated.send(request("GET", "/gated") + request("GET", "/quick"))
        await until(lambda: slow.started == 2)
        await until(lambda: sum(not each.is_idle for each in server.connections()) == 3)

        ended: list[None] = []
        down = Deferred.fromCoroutine(server.server.connections.shut_down(60_000))
        down.addCallback(ended.append)
        await idle.closed()
        await fresh.closed()
        reply = await poll.read_reply()
        assert reply.body == b'{"why":"closing"}'
        assert reply.headers["connection"] == "close"
        await poll.closed()
        half.send(b"Host: x\r\n\r\n")
        assert (await half.read_reply()).headers["connection"] == "close"
        await half.closed()
        assert not ended
        slow.gate.callback(None)
        assert (await gated.read_reply()).body == b'{"gated":true}'
        await gated.closed()
        assert gated.received == b""
        await until(lambda: ended)

        late = await server.connect_only()
        await late.closed()


async def test_shutdown_cuts_what_does_not_end() -> None:
    async with slow_server() as (server, slow):
        gated, stuck = await server.connect(), await server.connect()
        gated.send(request("GET", "/gated"))
        stuck.stop_reading()
        stuck.send(request("GET", "/big"))
        await until(lambda: slow.started and any(each._written for each in server.connections()))
        await server.server.connections.shut_down(20)
        assert len(server.server.connections) == 0
        slow.gate.callback(None)


async def test_shutdown_without_connections_is_immediate() -> None:
    async with slow_server() as (server, _):
        await server.server.connections.shut_down(60_000)


async def test_no_timer_runs_without_connections() -> None:
    async with slow_server() as (server, _):
        assert not server.server.connections._sweep.running
        client = await server.connect()
        assert server.server.connections._sweep.running
        client.close()
        await until(lambda: not server.server.connections._sweep.running)


# Whose address


@attrs.frozen
class WhoAmI:
    @endpoint("GET", "/", auth=Auth.NONE)
    async def get(self, request: Request) -> dict[str, Any]:
        return {"ip": request.client_ip}


@pytest.mark.parametrize(
    ("proxies", "headers", "ip"),
    [
        (None, ["X-Forwarded-For: 1.2.3.4"], "127.0.0.1"),
        (TrustedProxies.of(["10.0.0.0/24"]), ["X-Forwarded-For: 1.2.3.4"], "127.0.0.1"),
        (TrustedProxies(), [], "127.0.0.1"),
        (TrustedProxies(), ["X-Forwarded-For: 1.2.3.4"], "1.2.3.4"),
        (TrustedProxies(), ["X-Forwarded-For: 6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (TrustedProxies(), ["X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 1.2.3.4"], "1.2.3.4"),
        (TrustedProxies(), ["X-Forwarded-For: 6.6.6.6, 1.2.3.4, 127.0.0.9, ::1"], "1.2.3.4"),
        (TrustedProxies(), ["X-Forwarded-For: 1.2.3.4:5678"], "1.2.3.4"),
        (TrustedProxies(), ["X-Forwarded-For: [2001:db8::1]:5678"], "2001:db8::1"),
        (TrustedProxies(), ["X-Forwarded-For: ::ffff:1.2.3.4"], "1.2.3.4"),
        (TrustedProxies(), ["X-Forwarded-For: 1.2.3.4, garbage"], "127.0.0.1"),
        (TrustedProxies(), ["X-Forwarded-For: ,"], "127.0.0.1"),
        (TrustedProxies.of(["127.0.0.1", "1.2.0.0/16"]), ["X-Forwarded-For: 5.6.7.8, 1.2.3.4"], "5.6.7.8"),
    ],
)
async def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only(
    proxies: TrustedProxies | None, headers: list[str], ip: str
) -> None:
    async with serving(WhoAmI(), proxies=proxies) as server:
        client = await server.connect()
        assert (await client.get("/", *headers)).body == b'{"ip":"%b"}' % ip.encode()
