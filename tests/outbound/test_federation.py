"""The federation client against a server that answers what it is told to."""

import json
import threading

import pytest

from homeserver.clients import federation
from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import federation_path
from homeserver.clients.http_responses import Response
from homeserver.clients.results import result_of
from homeserver.core.hashes import decode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.core.server_lists import ServerLists
from homeserver.core.signing import verify_json
from homeserver.core.x_matrix import XMatrix, parse, signed_request
from tests.federation.certificates import Authority
from tests.outbound.scripted import OWN_KEY, OWN_NAME, Caller, Raw, Received, ScriptedServer, caller, ok
from tests.services.conftest import MovableClock

PATH = federation_path("v1", "event", "$ä/b")


async def test_a_large_answer_is_decoded_beside_the_reactor(
    remote: Caller, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the state of a big room."""
    threads: list[int] = []

    def decode(party: str, response: Response) -> JsonObject:
        threads.append(threading.get_ident())
        return result_of(party, response)

    monkeypatch.setattr(federation, "result_of", decode)
    large = "x" * federation.LARGE
    server.answer = lambda _: ok({"pdus": [large]})
    assert await remote.client.get(server.name, PATH) == {"pdus": [large]}
    server.answer = lambda _: ok({"pdus": []})
    assert await remote.client.get(server.name, PATH) == {"pdus": []}
    assert [each == threading.get_ident() for each in threads] == [False, True]


def checked(received: Received, server: ScriptedServer, content: JsonObject | None) -> XMatrix:
    """The header of a request, its signature checked as its receiver does it."""
    header = parse(received.headers["authorization"])
    request = signed_request(received.method, received.target, OWN_NAME, server.name, content)
    request["signatures"] = {OWN_NAME: {header.key: header.signature}}
    verify_json(request, OWN_NAME, OWN_KEY.key_id, OWN_KEY.verify_key)
    return header


async def test_get_is_signed(remote: Caller, server: ScriptedServer) -> None:
    assert await remote.client.get(server.name, PATH, {"a": "x y", "b": ["1", "2"]}) == {"ok": True}
    (received,) = server.requests
    assert received.method == "GET"
    assert received.target == "/_matrix/federation/v1/event/%24%C3%A4%2Fb?a=x%20y&b=1&b=2"
    assert received.headers["host"] == server.name
    assert received.headers["accept-encoding"] == "identity"
    assert received.body == b""
    assert "content-length" not in received.headers
    header = checked(received, server, None)
    assert (header.origin, header.destination, header.key) == (OWN_NAME, server.name, OWN_KEY.key_id)
    assert len(decode_base64(header.signature)) == 64


async def test_post_and_put_send_canonical_json(remote: Caller, server: ScriptedServer) -> None:
    body: JsonObject = {"b": 1, "a": "ü"}
    await remote.client.post(server.name, PATH, body)
    await remote.client.put(server.name, PATH, body, {"x": "1"})
    await remote.client.put(server.name, PATH, '{"a":"ü","b":1}'.encode())
    assert [each.method for each in server.requests] == ["POST", "PUT", "PUT"]
    for received in server.requests:
        assert received.body == '{"a":"ü","b":1}'.encode()
        assert received.headers["content-type"] == "application/json"
        checked(received, server, body)
    assert server.requests[1].target.endswith("?x=1")


async def test_keys_are_asked_for_without_a_signature(remote: Caller, server: ScriptedServer) -> None:
    await remote.client.get(server.name, "/_matrix/key/v2/server", is_signed=False)
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        ("400", False),
        ("403", False),
        ("404", False),
        ("429", True),
        ("500", True),
        ("502", True),
        ("302", True),
    ],
)
async def test_error_responses(
    remote: Caller, server: ScriptedServer, status: str, *, transient: bool
) -> None:
    server.answer = lambda _: ok({"errcode": "M_X", "error": "because"}, status=f"{status} No")
    with pytest.raises(RemoteError) as caught:
        await remote.client.get(server.name, PATH)
    error = caught.value
    assert (error.party, error.transient, error.status) == (server.name, transient, int(status))
    assert (error.errcode, error.message) == ("M_X", "because")


@pytest.mark.parametrize(
    "body",
    ["<html>", "[1]", '{"errcode": 1, "error": {}}', '{"a": 1, "a": 2}', "", "[" * 100_000, '{"x": NaN}'],
)
async def test_error_responses_that_are_none_of_matrix(
    remote: Caller, server: ScriptedServer, body: str
) -> None:
    server.answer = lambda _: Raw(f"HTTP/1.1 404 No\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    with pytest.raises(RemoteError, match="status is 404") as caught:
        await remote.client.get(server.name, PATH)
    assert caught.value.errcode is None
    assert not caught.value.transient


@pytest.mark.parametrize("body", ["<html>", "[1]", '{"a": 1, "a": 2}', "", '{"x": NaN}', '{"x": "\\ud800"}'])
async def test_responses_that_are_no_object(remote: Caller, server: ScriptedServer, body: str) -> None:
    server.answer = lambda _: Raw(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    with pytest.raises(RemoteError, match="no JSON object") as caught:
        await remote.client.get(server.name, PATH)
    assert caught.value.transient


async def test_a_redirect_is_not_followed(remote: Caller, server: ScriptedServer) -> None:
    server.answer = lambda _: ok({}, f"Location: https://localhost:{server.port}/other", status="302 Found")
    with pytest.raises(RemoteError):
        await remote.client.get(server.name, PATH)
    assert len(server.requests) == 1


async def test_who_is_not_dealt_with_is_not_called(authority: Authority, server: ScriptedServer) -> None:
    for lists in (ServerLists.of(deny=["LOCAL*"]), ServerLists.of(allow=["*.example"])):
        remote = caller(authority, lists=lists)
        with pytest.raises(RemoteError) as caught:
            await remote.client.get(server.name, PATH)
        assert not caught.value.transient
        assert caught.value.status is None
    assert server.connections == 0


@pytest.mark.parametrize("name", ["", "a b", "a.test\r\nX: y", "a/b", "[::", "ä.test", "a" * 10_000])
async def test_what_is_no_server_name_is_not_called(remote: Caller, name: str) -> None:
    with pytest.raises(RemoteError, match="server name") as caught:
        await remote.client.get(ServerName(name), PATH)
    assert not caught.value.transient
    assert not remote.resolver.asked


async def test_this_server_is_not_called(remote: Caller) -> None:
    with pytest.raises(RemoteError, match="this server itself"):
        await remote.client.get(OWN_NAME, PATH)


async def test_who_cannot_be_reached_is_left_alone_for_longer_and_longer(
    remote: Caller, clock: MovableClock, server: ScriptedServer
) -> None:
    dead = ServerName("nowhere.test:1")
    waits = []
    for _ in range(4):
        with pytest.raises(RemoteError, match="no address"):
            await remote.client.get(dead, PATH)
        steps = 0
        while remote.client.is_left_alone(dead):
            clock.advance(500)
            steps += 1
            remote.resolver.asked.clear()
            if not remote.client.is_left_alone(dead):
                break
            with pytest.raises(RemoteError, match="a moment ago"):
                await remote.client.get(dead, PATH)
            assert not remote.resolver.asked
        waits.append(steps)
    assert 2 <= waits[0] <= 4
    assert 8 <= waits[-1] <= 32
    # Others are not concerned.
    assert await remote.client.get(server.name, PATH) == {"ok": True}


async def test_who_is_heard_of_is_no_longer_left_alone(remote: Caller, server: ScriptedServer) -> None:
    del remote.resolver.hosts["localhost"]
    with pytest.raises(RemoteError, match="no address"):
        await remote.client.get(server.name, PATH)
    remote.resolver.hosts["localhost"] = ["127.0.0.1"]
    with pytest.raises(RemoteError, match="a moment ago"):
        await remote.client.get(server.name, PATH)
    assert await remote.client.put(server.name, PATH, {}, is_probe=True) == {"ok": True}
    assert await remote.client.get(server.name, PATH) == {"ok": True}


async def test_an_answer_of_whatever_kind_counts_as_reached(remote: Caller, server: ScriptedServer) -> None:
    server.answer = lambda _: ok({}, status="500 Oh")
    for _ in range(3):
        with pytest.raises(RemoteError, match="500"):
            await remote.client.get(server.name, PATH)
    assert len(server.requests) == 3


async def test_the_body_of_an_error_is_bounded(remote: Caller, server: ScriptedServer) -> None:
    server.answer = lambda _: ok({"errcode": "M" * 5_000, "error": "x" * 5_000}, status="400 No")
    with pytest.raises(RemoteError) as caught:
        await remote.client.get(server.name, PATH)
    assert len(caught.value.message) == len(caught.value.errcode or "") == 300
    assert json.dumps(caught.value.message)
