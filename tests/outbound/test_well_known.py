"""Server-server API, "Resolving server names", step 3: the look-up itself."""

import json
from collections.abc import AsyncIterator

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.clients.well_known import DEFAULT_MS, HOUR_MS, LONGEST_MS, SHORTEST_MS
from tests.federation.certificates import Authority
from tests.outbound.scripted import (
    Caller,
    FakeResolver,
    Raw,
    Received,
    ScriptedServer,
    caller,
    certify,
    ok,
    scripted_server,
)
from tests.services.conftest import MovableClock

GOOD = {"m.server": "to.test:1"}


@pytest.fixture
async def web(authority: Authority) -> AsyncIterator[ScriptedServer]:
    async with scripted_server(certify(authority, "hub.test", "hop.test"), lambda _: ok(GOOD)) as running:
        yield running


@pytest.fixture
async def remote(authority: Authority, web: ScriptedServer, clock: MovableClock) -> AsyncIterator[Caller]:
    resolver = FakeResolver(
        {"hub.test": ["127.0.0.1"], "hop.test": ["127.0.0.1"], "metadata.test": ["0.0.0.0"]}
    )
    made = caller(authority, resolver=resolver, well_known_port=web.port, clock=clock)
    yield made
    made.transport.close()


@pytest.mark.parametrize(
    ("header", "lifetime_ms"),
    [
        ("X: y", DEFAULT_MS),
        ("Cache-Control: max-age=7200", 2 * HOUR_MS),
        ("cache-control: public, Max-Age = 7200, x", 2 * HOUR_MS),
        ("Cache-Control: s-max-age=7200", DEFAULT_MS),
        ("Cache-Control: max-age=999999999", LONGEST_MS),
        ("Cache-Control: max-age=99999999999999999999", LONGEST_MS),
        ("Cache-Control: max-age=0", SHORTEST_MS),
        ("Cache-Control: no-store", SHORTEST_MS),
        ("Cache-Control: no-cache, max-age=7200", SHORTEST_MS),
        ("Date: Tue, 14 Nov 2023 22:00:00 GMT\r\nExpires: Tue, 14 Nov 2023 23:00:00 GMT", HOUR_MS),
        ("Expires: Thu, 14 Nov 2123 23:00:00 GMT", LONGEST_MS),
        ("Expires: 0", SHORTEST_MS),
        ("Expires: Tue, 14 Nov 2023 23:00:00 GMT\r\nCache-Control: max-age=7200", 2 * HOUR_MS),
    ],
)
async def test_how_long_an_answer_holds(
    remote: Caller, web: ScriptedServer, clock: MovableClock, header: str, lifetime_ms: int
) -> None:
    web.answer = lambda _: ok(GOOD, header)
    assert await remote.well_known.of("hub.test") == "to.test:1"
    web.answer = lambda _: ok({"m.server": "new.test"})
    clock.advance(lifetime_ms - 1)
    assert await remote.well_known.of("HUB.test") == "to.test:1"
    clock.advance(1)
    assert await remote.well_known.of("hub.test") == "new.test"
    assert len(web.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"m.server": 1}',
        '{"m.server": ""}',
        '{"m.server": "a b"}',
        '{"m.server": "a:1:2"}',
    ],
)
async def test_answers_that_are_none(remote: Caller, web: ScriptedServer, body: str) -> None:
    web.answer = lambda _: Raw(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    assert await remote.well_known.of("hub.test") is None


async def test_the_type_of_the_content_does_not_matter(remote: Caller, web: ScriptedServer) -> None:
    web.answer = lambda _: ok(GOOD, "Content-Type: text/html")
    assert await remote.well_known.of("hub.test") == "to.test:1"


async def test_large_answers_are_given_up(remote: Caller, web: ScriptedServer) -> None:
    web.answer = lambda _: ok({**GOOD, "x": "x" * 51_200})
    assert await remote.well_known.of("hub.test") is None


async def test_errors_are_remembered_for_longer_and_longer_up_to_an_hour(
    remote: Caller, web: ScriptedServer, clock: MovableClock
) -> None:
    web.answer = lambda _: ok({}, status="404 No")
    assert await remote.well_known.of("hub.test") is None
    waits = []
    for asked in range(1, 9):
        minutes = 0
        while len(web.requests) == asked:
            clock.advance(60_000)
            minutes += 1
            assert await remote.well_known.of("hub.test") is None
        waits.append(minutes)
    assert 3 <= waits[0] <= 5
    assert 30 <= waits[-1] <= 60


async def test_who_does_not_answer_is_taken_at_its_last_word_for_a_while(
    remote: Caller, web: ScriptedServer, clock: MovableClock
) -> None:
    """A web site that is down must not take federation down with it; nor keep it for ever."""
    assert await remote.well_known.of("hub.test") == "to.test:1"
    web.answer = lambda _: ok({}, status="503 Oh")
    clock.advance(DEFAULT_MS)
    assert await remote.well_known.of("hub.test") == "to.test:1"
    clock.advance(LONGEST_MS)
    assert await remote.well_known.of("hub.test") is None


async def test_who_answers_that_there_is_nothing_is_believed(
    remote: Caller, web: ScriptedServer, clock: MovableClock
) -> None:
    assert await remote.well_known.of("hub.test") == "to.test:1"
    web.answer = lambda _: ok({}, status="404 No")
    clock.advance(DEFAULT_MS)
    assert await remote.well_known.of("hub.test") is None


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
async def test_redirects_are_followed(remote: Caller, web: ScriptedServer, status: str) -> None:
    def answer(received: Received) -> Raw:
        if received.target == "/.well-known/matrix/server":
            return ok({}, f"Location: https://hop.test:{web.port}/a?b=c", status=f"{status} Go")
        if received.target == "/a?b=c":
            return ok({}, "Location: d", status=f"{status} Go")
        return ok(GOOD)

    web.answer = answer
    assert await remote.well_known.of("hub.test") == "to.test:1"
    assert [(each.sni, each.target) for each in web.requests] == [
        ("hub.test", "/.well-known/matrix/server"),
        ("hop.test", "/a?b=c"),
        ("hop.test", "/d"),
    ]
    assert web.requests[-1].headers["host"] == f"hop.test:{web.port}"


async def test_redirects_are_not_followed_for_ever(remote: Caller, web: ScriptedServer) -> None:
    web.answer = lambda received: ok({}, f"Location: {received.target}x", status="302 Go")
    assert await remote.well_known.of("hub.test") is None
    assert len(web.requests) <= 6


async def test_redirects_in_a_circle(remote: Caller, web: ScriptedServer) -> None:
    web.answer = lambda _: ok({}, "Location: /.well-known/matrix/server", status="302 Go")
    assert await remote.well_known.of("hub.test") is None
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://hop.test/",
        "file:///etc/passwd",
        "ftp://hop.test/",
        "https://user:password@hop.test/",
        "https://",
        "https://[::/",
        "https://hop.test:x/",
        "https://hop.test:99999999/",
        "https://a b/",
        "https://hop.test/\x01",
        "https://metadata.test/latest",
        "https://0.0.0.0/latest",
        "",
    ],
)
async def test_redirects_that_lead_nowhere(remote: Caller, web: ScriptedServer, location: str) -> None:
    web.answer = lambda _: ok({}, f"Location: {location}", status="302 Go")
    assert await remote.well_known.of("hub.test") is None
    assert len(web.requests) == 1


async def test_redirects_into_private_networks(authority: Authority, web: ScriptedServer) -> None:
    """The name leads to a public address at first; where it is redirected to is checked anew."""
    remote = caller(authority, allow_private=False, well_known_port=web.port)
    for host in ("127.0.0.1", "localhost", "[::1]", "169.254.169.254"):
        with pytest.raises(Exception, match="must not be connected to"):
            await remote.well_known._get(f"https://{host}:{web.port}/")
    assert web.connections == 0


async def test_many_ask_once(remote: Caller, web: ScriptedServer) -> None:
    found = await gatherResults([Deferred.fromCoroutine(remote.well_known.of("hub.test")) for _ in range(20)])
    assert set(found) == {"to.test:1"}
    assert len(web.requests) == 1


async def test_who_gives_up_waiting_does_not_spoil_it_for_the_others(
    remote: Caller, web: ScriptedServer
) -> None:
    one, two = (Deferred.fromCoroutine(remote.well_known.of("hub.test")) for _ in range(2))
    one.addErrback(lambda _: None)
    one.cancel()
    assert await two == "to.test:1"
    assert json.dumps(GOOD)
