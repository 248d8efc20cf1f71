"""Exchanges with servers that are slow, endless, broken or hostile."""

import gzip

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from homeserver.clients import http_transport
from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import federation_path
from homeserver.clients.http_transport import TransportLimits, request_bytes
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from tests.federation.certificates import Authority
from tests.outbound.scripted import (
    Caller,
    Raw,
    Received,
    ScriptedServer,
    caller,
    certify,
    ok,
    scripted_server,
)

PATH = federation_path("v1", "version")


def raw(text: str, *, then_close: bool = False) -> Raw:
    return Raw(text.replace("\n", "\r\n").encode("latin-1"), then_close)


async def test_connections_are_kept_for_the_next_request(remote: Caller, server: ScriptedServer) -> None:
    for _ in range(5):
        await remote.client.get(server.name, PATH)
    assert (len(server.requests), server.connections) == (5, 1)


async def test_a_connection_that_was_closed_meanwhile_is_replaced(
    remote: Caller, server: ScriptedServer
) -> None:
    """Also if we notice only when writing to it."""
    await remote.client.get(server.name, PATH)
    answers = iter([Raw(None, then_close=True), ok({"second": True})])
    server.answer = lambda _: next(answers)
    assert await remote.client.put(server.name, PATH, {}) == {"second": True}
    assert server.connections == 2


async def test_what_must_not_be_done_twice_is_not_sent_twice(remote: Caller, server: ScriptedServer) -> None:
    await remote.client.get(server.name, PATH)
    server.answer = lambda _: Raw(None, then_close=True)
    with pytest.raises(RemoteError, match="broke") as caught:
        await remote.client.post(server.name, PATH, {})
    assert caught.value.transient
    assert [each.method for each in server.requests] == ["GET", "POST"]
    assert server.connections == 1


async def test_what_must_not_be_done_twice_uses_no_connection_that_may_be_stale(
    remote: Caller, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_transport, "SAFE_S", -1.0)
    await remote.client.get(server.name, PATH)
    await remote.client.post(server.name, PATH, {})
    assert server.connections == 2
    await remote.client.get(server.name, PATH)
    assert server.connections == 2


async def test_a_request_is_not_repeated_for_ever(remote: Caller, server: ScriptedServer) -> None:
    server.answer = lambda _: Raw(None, then_close=True)
    with pytest.raises(RemoteError, match="broke"):
        await remote.client.get(server.name, PATH)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "text",
    [
        'HTTP/1.1 200 OK\nContent-Length: 8\n\n{"a": 1}',
        'HTTP/1.1 200 OK\ncontent-length: 8\nConnection: close\n\n{"a": 1}',
        'HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\n{"a\n5\n": 1}\n0\n\n',
        'HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n8\n{"a": 1}\n0\nX-Trailer: x\n\n',
        'HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 200 OK\nContent-Length: 8\n\n{"a": 1}',
        'HTTP/1.0 200 OK\nContent-Length: 8\n\n{"a": 1}',
    ],
)
async def test_ways_to_send_a_response(remote: Caller, server: ScriptedServer, text: str) -> None:
    server.answer = lambda _: raw(text)
    assert await remote.client.get(server.name, PATH) == {"a": 1}
    assert await remote.client.get(server.name, PATH) == {"a": 1}


async def test_a_response_that_ends_with_its_connection(remote: Caller, server: ScriptedServer) -> None:
    server.answer = lambda _: raw('HTTP/1.1 200 OK\n\n{"a": 1}', then_close=True)
    assert await remote.client.get(server.name, PATH) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 9\n\n{}", "broke"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\n{}\n", "broke"),
        ("HTTP/1.1 200", "broke"),
        ("SSH-2.0-OpenSSH\n", "not HTTP"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\n{}", "not HTTP"),
        ("HTTP/1.1 200 OK\nContent-Length: -1\n\n{}", "not HTTP"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n{}", "not HTTP"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n2\n{}\n0\n\n", "not HTTP"),
        ("HTTP/1.1 101 Switching\nUpgrade: x\nConnection: upgrade\n\n", "protocol"),
    ],
)
async def test_responses_that_are_broken(
    remote: Caller, server: ScriptedServer, text: str, reason: str
) -> None:
    server.answer = lambda _: raw(text, then_close=True)
    with pytest.raises(RemoteError, match=reason) as caught:
        await remote.client.get(server.name, PATH)
    assert caught.value.transient


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 1001\n\n", "larger than 1000"),
        ("HTTP/1.1 200 OK\nContent-Length: 99999999999999999\n\n", "larger than 1000"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nffffff\n" + "x" * 2_000, "larger than 1000"),
        ("HTTP/1.1 200 OK\n\n" + "x" * 2_000, "larger than 1000"),
        ("HTTP/1.1 200 OK\n" + "A: b\n" * 20_000, "too large a header"),
        ("HTTP/1.1 200 OK\n" + "".join(f"A{each}: b\n" for each in range(300)) + "\n", "too many headers"),
        ("HTTP/1.1 100 Continue\n\n" * 10_000, "too large a header"),
        (
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n"
            + "".join(f"A{each}: b\n" for each in range(900)),
            "larger than 1000",
        ),
    ],
)
async def test_what_is_too_large_is_given_up(
    remote: Caller, server: ScriptedServer, text: str, reason: str
) -> None:
    """Not at its end: it has none."""
    server.answer = lambda _: raw(text)
    with pytest.raises(RemoteError, match=reason) as caught:
        await remote.client.get(server.name, PATH, most_bytes=1_000)
    assert (caught.value.transient, caught.value.is_too_large) == (False, True)


async def test_compression_is_neither_asked_for_nor_undone(remote: Caller, server: ScriptedServer) -> None:
    bomb = gzip.compress(bytes(1_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    server.answer = lambda _: Raw(head + bomb)
    with pytest.raises(RemoteError, match="compressed"):
        await remote.client.get(server.name, PATH)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_what_follows_a_response_is_not_the_next_one(remote: Caller, server: ScriptedServer) -> None:
    one = 'HTTP/1.1 200 OK\nContent-Length: 8\n\n{"a": 1}'
    server.answer = lambda _: raw(one + one.replace("1}", "2}"))
    for _ in range(2):
        with pytest.raises(RemoteError, match="followed by another"):
            await remote.client.get(server.name, PATH)


@pytest.mark.parametrize(
    "data", [None, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"]
)
async def test_who_does_not_answer_in_time(
    remote: Caller, server: ScriptedServer, data: bytes | None
) -> None:
    server.answer = lambda _: Raw(data)
    with pytest.raises(RemoteError, match=r"within 0\.2 seconds") as caught:
        await remote.client.get(server.name, PATH, patience_ms=200)
    assert caught.value.transient
    server.answer = lambda _: ok({"well": True})
    # It was connected: slowness is no reason to leave it alone.
    assert await remote.client.get(server.name, PATH) == {"well": True}
    assert server.connections == 2


async def test_a_server_gets_only_so_many_requests_at_once(authority: Authority) -> None:
    async with scripted_server(certify(authority, "localhost"), lambda _: Raw(None)) as server:
        remote = caller(authority, limits=TransportLimits(at_once_per_route=3, waiting_per_route=2))
        running = [Deferred.fromCoroutine(remote.client.get(server.name, PATH)) for _ in range(5)]
        with pytest.raises(RemoteError, match="too many requests"):
            await remote.client.get(server.name, PATH)
        await first_request(server)
        assert len(server.open) <= 3
        for each in running:
            each.addErrback(lambda failure: failure.trap(CancelledError))
            each.cancel()
        await gatherResults(running)
        server.answer = lambda _: ok({"well": True})
        assert await remote.client.get(server.name, PATH) == {"well": True}
        remote.transport.close()


async def first_request(server: ScriptedServer) -> None:
    """Wait until the server has got a request."""
    arrived: Deferred[None] = Deferred()

    def answer(_: Received) -> Raw:
        if not arrived.called:
            arrived.callback(None)
        return Raw(None)

    server.answer = answer
    await arrived


async def test_a_slow_server_does_not_hold_up_another(authority: Authority, server: ScriptedServer) -> None:
    async with scripted_server(certify(authority, "localhost"), lambda _: Raw(None)) as slow:
        remote = caller(authority)
        stuck = [Deferred.fromCoroutine(remote.client.get(slow.name, PATH)) for _ in range(100)]
        assert await remote.client.get(server.name, PATH) == {"ok": True}
        for each in stuck:
            each.addErrback(lambda failure: failure.trap(CancelledError))
            each.cancel()
        remote.transport.close()


async def test_few_idle_connections_are_kept(remote: Caller, server: ScriptedServer) -> None:
    await gatherResults([Deferred.fromCoroutine(remote.client.get(server.name, PATH)) for _ in range(6)])
    assert server.connections == 6
    assert len(remote.transport._idle) == 2


async def test_idle_connections_are_closed_after_a_while(
    authority: Authority, server: ScriptedServer
) -> None:
    remote = caller(authority, limits=TransportLimits(idle_s=0.0))
    await remote.client.get(server.name, PATH)
    await gone(server)
    assert not remote.transport._idle


async def test_idle_connections_are_bounded_in_all(authority: Authority, server: ScriptedServer) -> None:
    remote = caller(authority, limits=TransportLimits(idle=1))
    async with scripted_server(certify(authority, "localhost"), lambda _: ok({})) as other:
        await remote.client.get(server.name, PATH)
        await remote.client.get(other.name, PATH)
        await gone(server)
        assert len(remote.transport._idle) == 1
        remote.transport.close()


async def gone(server: ScriptedServer) -> None:
    """Wait until the server has no connection."""
    for conversation in list(server.open):
        await conversation.closed


async def test_private_addresses_are_refused_after_resolution(
    authority: Authority, server: ScriptedServer
) -> None:
    remote = caller(authority, allow_private=False)
    literal = ServerName(f"127.0.0.1:{server.port}")
    for name in (server.name, literal):
        with pytest.raises(RemoteError, match="must not be connected to"):
            await remote.client.get(name, PATH)
    assert server.connections == 0


async def test_the_next_address_is_tried(authority: Authority, server: ScriptedServer) -> None:
    remote = caller(authority)
    remote.resolver.hosts["localhost"] = ["127.0.0.2", "0.0.0.0", "127.0.0.1"]
    assert await remote.client.get(server.name, PATH) == {"ok": True}
    remote.transport.close()


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
async def test_ports_that_are_none(remote: Caller, port: str) -> None:
    with pytest.raises(RemoteError, match="is no port"):
        await remote.client.get(ServerName(f"localhost:{port}"), PATH)


@pytest.mark.parametrize("target", ["", "x", "/a b", "/a\r\nHost: x", "/ä", "https://a.test/"])
def test_no_line_of_a_request_can_be_ended_early(target: str) -> None:
    with pytest.raises(ValueError):
        request_bytes("GET", target, "a.test", {})
    with pytest.raises(ValueError):
        request_bytes("GET", "/", "a.test", {"X": "a\r\nY: b"})
    with pytest.raises(ValueError):
        request_bytes("GET", "/", "a.test\r\nY: b", {})


async def test_large_bodies_arrive(remote: Caller, server: ScriptedServer) -> None:
    body: JsonObject = {"text": "x" * 3_000_000}
    server.answer = lambda received: ok({"length": len(received.body), "back": "y" * 3_000_000})
    answer = await remote.client.put(server.name, PATH, body)
    assert answer["length"] == len('{"text":""}') + 3_000_000
