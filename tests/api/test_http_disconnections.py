"""Clients that go away, streams, the end of the server; and whose address a request counts for."""

import socket
import struct
from typing import Any

import attrs
import pytest
import structlog
from twisted.internet.defer import Deferred

from homeserver.http.addresses import TrustedProxies
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.request import Request
from tests.api.http_harness import RawClient, request, serving, turns, until
from tests.api.http_slow import LIMITS, only, slow_server

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
        await client.until(lambda: len(client.received) >= size + 2)  # noqa: B023 - awaited at once
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
