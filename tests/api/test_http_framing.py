"""RFC 9112: where one request ends and the next begins, and what is refused because that is in doubt."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.errors import MatrixError
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.limits import HttpLimits
from homeserver.http.parser import RequestParser
from homeserver.http.request import Request
from tests.api.http_harness import RawClient, request, serving, until

LIMITS = HttpLimits(target_bytes=200, header_bytes=400, header_count=8)
BODY_LIMIT = 64


@attrs.frozen
class Echo:
    """Answers with what it was asked."""

    @endpoint("GET", "/{name}", auth=Auth.NONE)
    async def get(self, name: str, request: Request) -> dict[str, Any]:
        return {"name": name, "query": request.query}

    @endpoint("POST", "/{name}", auth=Auth.NONE, body_limit=BODY_LIMIT)
    async def post(self, name: str, body: bytes) -> dict[str, Any]:
        return {"name": name, "body": body.decode("latin-1")}


async def exchange(data: bytes, pieces: list[bytes] | None = None) -> list[tuple[int, Any]]:
    """What comes back for `data`, sent in `pieces`, before the server closes the connection."""
    async with serving(Echo(), limits=LIMITS, body_limit=BODY_LIMIT) as server:
        client = await server.connect()
        for piece in pieces or [data]:
            client.send(piece)
        return await replies(client)


async def replies(client: RawClient) -> list[tuple[int, Any]]:
    found = []
    while True:
        reply = await client.read_reply()
        found.append((reply.status, json.loads(reply.body or b"null")))
        if reply.headers.get("connection") == "close":
            await client.closed()
            assert client.received == b""
            return found


LAST = request("GET", "/last", "Connection: close")


def parse(pieces: list[bytes]) -> list[object]:
    """What a parser makes of the pieces: requests, and the status it refuses with."""
    found: list[object] = []
    parser = RequestParser(LIMITS, lambda _: BODY_LIMIT)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                rest = parser.receive(rest)
                if parser.is_complete:
                    assert parser.head is not None
                    head = parser.head
                    found.append((head.method, head.target, head.headers, head.keep_alive, parser.body))
                    parser.next()
    except MatrixError as error:
        found.append(error.status)
    return found


GOOD = [
    request("GET", "/a?b=c"),
    b"\r\n" + request("GET", "/a"),
    request("POST", "/b", body=b""),
    request("POST", "/b", body=b"\r\n\r\nGET /inner HTTP/1.1\r\nHost: x\r\n\r\n"),
    request("POST", "/c", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n5;x=y\r\n\r\n\r\n0\r\n0\r\n\r\n",
    request("POST", "/c", "Transfer-Encoding: chunked") + b"0\r\nTrailer: t\r\n\r\n",
    request("POST", "/d", "Connection: Upgrade", "Upgrade: h2c", body=b"GET / HTTP/1.1\r\n\r\n"),
    request("GET", "/d", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    request("GET", "/e", "X: 1", "x: 2", "Empty:", "Blanks:  a b \t"),
    b"GET /f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]

BAD = [
    request("POST", "/", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding: identity") + b"abc",
    request("POST", "/", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding:\x0bchunked") + b"0\r\n\r\n",
    request("POST", "/", 'Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding : chunked") + b"0\r\n\r\n",
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    request("POST", "/", "Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    request("POST", "/", "Content-Length: 3", "Content-Length: 4") + b"abc",
    request("POST", "/", "Content-Length: 3", "Content-Length: 3") + b"abc",
    request("POST", "/", "Content-Length: 3, 3") + b"abc",
    request("POST", "/", "Content-Length: +3") + b"abc",
    request("POST", "/", "Content-Length: -3") + b"abc",
    request("POST", "/", "Content-Length: 0x3") + b"abc",
    request("POST", "/", "Content-Length: 1_0") + b"abc",
    request("POST", "/", "Content-Length: 3 4") + b"abc",
    request("POST", "/", "Content-Length:") + b"abc",
    request("POST", "/", "Content-Length: \u0663") + b"abc",
    request("POST", "/", "Content-Length: 99999999999999999999999999") + b"abc",
    request("POST", "/", "Content-Length : 3") + b"abc",
    *(
        request("POST", "/", "Transfer-Encoding: chunked") + body
        for body in (
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcX0\r\n\r\n",
            b"3\r\nabcde\r\n0\r\n\r\n",
            b"3;a\nb\r\nabc\r\n0\r\n\r\n",
            b"\r\n3\r\nabc\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
            b"0\r\nContent-Length: 3\r\n\r\nabc",
            b"0\r\nno colon\r\n\r\n",
        )
    ),
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n X: folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\tfolded\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX\x00: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: y\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/0.9\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    request("GET", "/", "Expect: 200-ok"),
    request("GET", "/" + 200 * "a"),
    request("GET", "/", "X: " + 400 * "a"),
    request("GET", "/", 400 * "X" + ": a"),
    request("GET", "/", *(f"X{n}: a" for n in range(9))),
    request("GET", "/", *(9 * ["X: a"])),
    request("POST", "/", body=65 * b"a"),
    request("POST", "/", "Transfer-Encoding: chunked") + b"41\r\n" + 65 * b"a" + b"\r\n0\r\n\r\n",
    request("POST", "/", "Transfer-Encoding: chunked") + 65 * b"1\r\na\r\n" + b"0\r\n\r\n",
]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces that end at these places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


@pytest.mark.parametrize("good", GOOD)
def test_any_cut_gives_the_same_request(good: bytes) -> None:
    whole = parse([good])
    assert len(whole) == 1
    assert isinstance(whole[0], tuple)
    for place in range(1, len(good)):
        assert parse([good[:place], good[place:]]) == whole
    assert parse([bytes([byte]) for byte in good]) == whole


@pytest.mark.parametrize("bad", BAD)
def test_any_cut_gives_the_same_refusal(bad: bytes) -> None:
    whole = parse([bad])
    assert len(whole) == 1, whole
    assert whole[0] in (400, 405, 413, 414, 417, 431, 505)
    for place in range(1, len(bad)):
        assert parse([bad[:place], bad[place:]]) == whole
    assert parse([bytes([byte]) for byte in bad]) == whole


@given(st.lists(st.sampled_from(GOOD), max_size=5), st.sampled_from([b"", *BAD]), st.lists(st.integers(0)))
@settings(max_examples=300, deadline=None)
def test_requests_come_out_as_they_went_in(good: list[bytes], bad: bytes, places: list[int]) -> None:
    expected = [parse([each])[0] for each in [*good, bad] if each]
    assert parse(cut(b"".join(good) + bad, places)) == expected


@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=4))
@settings(max_examples=500, deadline=None)
def test_no_bytes_break_the_parser(data: bytes, places: list[int]) -> None:
    assert parse(cut(data, places)) == parse([data])


@given(
    st.lists(
        st.sampled_from(
            [
                *(b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"Content-Length: 5\r\n"),
                *(
                    b"Transfer-Encoding: chunked\r\n",
                    b"\r\n",
                    b"\r",
                    b"\n",
                    b"5\r\n",
                    b"0\r\n",
                    b"hello",
                    b";a",
                ),
                *(b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n", b" ", b"HTTP/1.1"),
            ]
        ),
        max_size=14,
    ),
    st.lists(st.integers(0), max_size=6),
)
@settings(max_examples=1500, deadline=None)
def test_no_mixture_of_fragments_depends_on_the_cut(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    assert parse(cut(data, places)) == parse([data])


@given(st.lists(st.sampled_from(GOOD[:-1]), min_size=1, max_size=4), st.lists(st.integers(0), max_size=8))
@settings(max_examples=30, deadline=None)
async def test_over_a_socket_too_the_cut_does_not_matter(good: list[bytes], places: list[int]) -> None:
    data = b"".join(good) + LAST
    assert await exchange(data, cut(data, places)) == await exchange(data)


@pytest.mark.parametrize("bad", BAD)
async def test_what_follows_a_doubtful_request_is_never_answered(bad: bytes) -> None:
    answers = await exchange(request("GET", "/first") + bad + request("GET", "/smuggled"))
    assert answers[0] == (200, {"name": "first", "query": ""})
    assert len(answers) == 2
    status, error = answers[1]
    assert status in (400, 405, 413, 414, 417, 431, 505)
    assert error["errcode"] in ("M_UNKNOWN", "M_UNRECOGNIZED", "M_TOO_LARGE")


async def test_what_follows_the_last_request_is_never_answered() -> None:
    assert await exchange(LAST + request("GET", "/smuggled")) == [(200, {"name": "last", "query": ""})]
    old = b"GET /old HTTP/1.0\r\n\r\n" + request("GET", "/smuggled")
    assert await exchange(old) == [(200, {"name": "old", "query": ""})]


async def test_the_body_of_a_request_is_not_taken_for_another() -> None:
    inner = request("GET", "/inner")
    for data in (
        request("POST", "/a", body=inner),
        request("POST", "/a", "Connection: Upgrade", "Upgrade: h2c", body=inner),
        request("POST", "/a", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner),
    ):
        answers = await exchange(data + LAST)
        assert answers[0] == (200, {"name": "a", "body": inner.decode()})
        assert [answer["name"] for _, answer in answers] == ["a", "last"]


@pytest.mark.parametrize(
    ("bad", "status", "errcode"),
    [
        (request("POST", "/a", body=65 * b"a"), 413, "M_TOO_LARGE"),
        (request("POST", "/a", "Content-Length: 100000000000"), 413, "M_TOO_LARGE"),
        (
            request("POST", "/a", "Transfer-Encoding: chunked") + b"ffffffff\r\n" + 65 * b"a",
            413,
            "M_TOO_LARGE",
        ),
        (request("GET", "/" + 200 * "a"), 414, "M_TOO_LARGE"),
        (request("GET", "/a", "X: " + 400 * "a"), 431, "M_TOO_LARGE"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + 5000 * b"a", 431, "M_TOO_LARGE"),
        (request("GET", "/a", *(f"X{n}: a" for n in range(9))), 431, "M_TOO_LARGE"),
        (request("POST", "/a", "Transfer-Encoding: chunked") + b"1;" + 5000 * b"a", 400, "M_UNKNOWN"),
        (request("POST", "/a", "Transfer-Encoding: chunked") + b"0\r\nX: " + 5000 * b"a", 400, "M_UNKNOWN"),
        (b"\r\n" * 5000, 431, "M_TOO_LARGE"),
    ],
)
async def test_limits(bad: bytes, status: int, errcode: str) -> None:
    pieces = [bad[start : start + 100] for start in range(0, len(bad), 100)]
    for way in (None, pieces):
        answers = await exchange(bad, way)
        assert [answer[0] for answer in answers] == [status]
        assert answers[0][1]["errcode"] == errcode


async def test_a_body_at_its_limit_passes() -> None:
    body = 64 * b"a"
    assert await exchange(request("POST", "/a", "Connection: close", body=body)) == [
        (200, {"name": "a", "body": body.decode()})
    ]


async def test_pipelined_requests_are_answered_in_order() -> None:
    names = [f"r{number}" for number in range(500)]
    answers = await exchange(b"".join(request("GET", f"/{name}") for name in names) + LAST)
    assert [answer["name"] for _, answer in answers] == [*names, "last"]


async def test_head_is_get_without_the_body() -> None:
    async with serving(Echo()) as server:
        client = await server.connect()
        client.send(request("HEAD", "/a"))
        reply = await client.read_reply(has_body=False)
        assert reply.status == 200
        assert reply.headers["content-length"] == str(len(b'{"name":"a","query":""}'))
        assert (await client.get("/b")).body == b'{"name":"b","query":""}'


async def test_http_1_0_closes_unless_asked_otherwise() -> None:
    async with serving(Echo()) as server:
        client = await server.connect()
        reply = await client.ask(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert reply.headers["connection"] == "keep-alive"
        reply = await client.ask(b"GET /b HTTP/1.0\r\n\r\n")
        assert reply.headers["connection"] == "close"
        await client.closed()


async def test_an_absolute_target_is_a_path_too() -> None:
    async with serving(Echo()) as server:
        client = await server.connect()
        assert (await client.get("http://elsewhere:80/a?b")).body == b'{"name":"a","query":"b"}'
        assert (await client.get("http://elsewhere")).status == 404


async def test_100_continue_is_sent_before_the_body_and_only_if_it_is_wanted() -> None:
    async with serving(Echo()) as server:
        client = await server.connect()
        client.send(request("POST", "/a", "Expect: 100-continue", "Content-Length: 3"))
        assert (await client.read_head()).status == 100
        assert (await client.ask(b"abc")).body == b'{"name":"a","body":"abc"}'
        # The body is there already: no need to ask for it.
        reply = await client.ask(request("POST", "/a", "Expect: 100-continue", body=b"abc"))
        assert reply.status == 200
        client.send(request("POST", "/a", "Expect: 100-continue", "Content-Length: 3") + b"a")
        await until(lambda: server.connections()[0]._parser.received_body_bytes == 1)
        assert (await client.ask(b"bc")).body == b'{"name":"a","body":"abc"}'
        # The body would be too large: no invitation.
        reply = await client.ask(request("POST", "/a", "Expect: 100-continue", "Content-Length: 65"))
        assert reply.status == 413
        await client.closed()
