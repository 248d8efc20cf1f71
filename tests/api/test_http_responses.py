"""Who may ask, and how often; responses, errors, log lines and metrics."""

import json
from typing import Any

import attrs
import msgspec
import pytest
import structlog
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred

from homeserver.core.endpoint_errors import BadStatus
from homeserver.core.errors import Forbidden, LimitExceeded, MatrixError, NotFound, UnknownToken, UserLocked
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject
from homeserver.core.rate_limit import RateLimit
from homeserver.core.requester import Requester
from homeserver.database.errors import StorageUnavailable
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.prometheus_metrics import PrometheusRequestMetrics
from homeserver.http.rate_limits import InMemoryRateLimiter
from homeserver.http.request import Request
from homeserver.http.response import JSON_HEADERS, Response
from tests.api.http_harness import TOKENS, ManualClock, Reply, request, serving, until


class Point(msgspec.Struct):
    x: int


class Paging(msgspec.Struct):
    direction: str = msgspec.field(name="dir")


@attrs.frozen
class Api:
    """One endpoint per way of being asked."""

    @endpoint("GET", "/_matrix/client/v1/only", auth=Auth.NONE)
    async def only(self) -> JsonObject:
        return {}

    @endpoint("POST", "/object", auth=Auth.NONE)
    @endpoint("DELETE", "/object", auth=Auth.NONE)
    async def anything(self, body: JsonObject) -> JsonObject:
        return {"got": body}

    @endpoint("GET", "/page", auth=Auth.NONE)
    async def page(self, query: Paging) -> Paging:
        return query

    @endpoint("GET", "/user", auth=Auth.USER)
    async def user(self, requester: Requester) -> JsonObject:
        return {"user": requester.user_id}

    @endpoint("GET", "/guest", auth=Auth.GUEST_OK)
    async def guest(self, requester: Requester) -> JsonObject:
        return {"user": requester.user_id}

    @endpoint("GET", "/optional", auth=Auth.OPTIONAL)
    async def optional(self, requester: Requester | None) -> JsonObject:
        return {"user": None if requester is None else requester.user_id}

    @endpoint("GET", "/admin", auth=Auth.ADMIN)
    async def admin(self) -> JsonObject:
        return {}

    @endpoint("GET", "/server", auth=Auth.SERVER)
    async def server(self, origin: ServerName) -> JsonObject:
        return {"origin": origin}

    @endpoint("POST", "/limited", auth=Auth.USER, limit=Limit.MESSAGES)
    async def limited(self, body: Point) -> JsonObject:
        return {}

    @endpoint("GET", "/limited", auth=Auth.NONE, limit=Limit.MESSAGES)
    async def limited_by_address(self) -> JsonObject:
        return {}

    @endpoint("GET", "/whole", auth=Auth.NONE)
    async def whole(self, request: Request) -> Response:
        text = f"{request.method} {request.user_agent} {request.header_values(b'x')}"
        headers = ((b"Content-Type", b"text/plain"), (b"Access-Control-Allow-Origin", b"https://one"))
        return Response(418, headers, text.encode())

    @endpoint("GET", "/empty", auth=Auth.NONE)
    async def empty(self) -> Response:
        return Response(204)

    @endpoint("GET", "/raise/{what}", auth=Auth.NONE)
    async def fail(self, what: str) -> JsonObject:
        errors: dict[str, Exception] = {
            "forbidden": Forbidden("no"),
            "conflict": MatrixError("M_UNKNOWN", "taken", status=409),
            "token": UnknownToken(soft_logout=True),
            "locked": UserLocked(),
            "later": LimitExceeded(retry_after_ms=1500),
            "status": BadStatus(remote_status=500, body="b"),
            "not_found": NotFound(),
            "bug": ZeroDivisionError("a secret"),
            "storage": StorageUnavailable("disk full"),
        }
        raise errors[what]

    @endpoint("GET", "/unwritable/{what}", auth=Auth.NONE)
    async def unwritable(self, what: str) -> object:
        if what == "json":
            return {"a": object()}
        if what == "nothing":
            return None
        return Response(200, ((b"X", b"a\r\nSet-Cookie: b"),))


async def ask(data: bytes, **kwargs: Any) -> Reply:
    async with serving(Api(), **kwargs) as server:
        client = await server.connect()
        return await client.ask(data)


async def get(path: str, *headers: str) -> tuple[int, Any]:
    reply = await ask(request("GET", path, *headers))
    return reply.status, json.loads(reply.body)


async def post(path: str, body: bytes, method: str = "POST") -> tuple[int, Any]:
    reply = await ask(request(method, path, body=body))
    return reply.status, json.loads(reply.body)


@pytest.mark.parametrize(
    ("path", "token", "status", "answer"),
    [
        ("/user", "alice", 200, {"user": "@alice:x"}),
        ("/user", "guest", 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("/user", "nobody", 401, "M_UNKNOWN_TOKEN"),
        ("/user", None, 401, "M_MISSING_TOKEN"),
        ("/guest", "guest", 200, {"user": "@guest:x"}),
        ("/guest", "alice", 200, {"user": "@alice:x"}),
        ("/guest", None, 401, "M_MISSING_TOKEN"),
        ("/optional", None, 200, {"user": None}),
        ("/optional", "alice", 200, {"user": "@alice:x"}),
        ("/optional", "nobody", 401, "M_UNKNOWN_TOKEN"),
        ("/admin", "admin", 200, {}),
        ("/admin", "alice", 403, "M_FORBIDDEN"),
        ("/admin", "guest", 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("/admin", None, 401, "M_MISSING_TOKEN"),
    ],
)
async def test_authentication(path: str, token: str | None, status: int, answer: object) -> None:
    ways = [(path, [])] if token is None else [(path, [f"Authorization: Bearer {token}"])]
    if token is not None:
        ways += [(f"{path}?access_token={token}", []), (path, [f"authorization: bearer  {token} "])]
        ways += [(f"{path}?access_token=other", [f"Authorization: Bearer {token}"])]
    for way, headers in ways:
        got = await get(way, *headers)
        if isinstance(answer, str):
            assert (got[0], got[1]["errcode"]) == (status, answer)
        else:
            assert got == (status, answer)


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer ", "alice", "Bearer a b"])
async def test_other_authorization_is_none(header: str) -> None:
    status, error = await get("/user", f"Authorization: {header}")
    assert (status, error["errcode"]) == (401, "M_MISSING_TOKEN")


async def test_an_empty_token_is_none() -> None:
    assert (await get("/user?access_token="))[1]["errcode"] == "M_MISSING_TOKEN"


async def test_who_asks_is_checked_before_what_they_ask() -> None:
    reply = await ask(request("POST", "/limited", body=b"not JSON"))
    assert reply.status == 401


async def test_servers_are_authenticated_by_their_own_means() -> None:
    assert await get("/server", "Authorization: other.example") == (200, {"origin": "other.example"})


# Rate limits


async def test_a_rate_limit_is_per_user_and_says_when_to_come_back() -> None:
    clock = ManualClock()
    rates = {Limit.MESSAGES: RateLimit.of(per_second=0.5, burst=2)}
    limiter = InMemoryRateLimiter(rates, clock)
    async with serving(Api(), rate_limiter=limiter) as server:
        client = await server.connect()

        async def send(token: str) -> Reply:
            return await client.ask(
                request("POST", "/limited", f"Authorization: Bearer {token}", body=b'{"x":1}')
            )

        assert [(await send("alice")).status for _ in range(3)] == [200, 200, 429]
        reply = await send("alice")
        assert json.loads(reply.body) == {
            "errcode": "M_LIMIT_EXCEEDED",
            "error": "Too many requests",
            "retry_after_ms": 2000,
        }
        assert reply.headers["retry-after"] == "2"
        # An application service is not limited, in its own name or before there is any.
        assert {(await send("bridge")).status for _ in range(5)} == {200}
        assert [(await client.get("/limited")).status for _ in range(3)] == [200, 200, 429]
        token = "Authorization: Bearer bridge"
        assert {(await client.get("/limited", token)).status for _ in range(3)} == {200}
        clock.now_ms += 1_999
        assert (await send("alice")).status == 429
        clock.now_ms += 1
        assert (await send("alice")).status == 200


async def test_addresses_of_one_network_count_as_one() -> None:
    limiter = InMemoryRateLimiter({Limit.LOGIN: RateLimit.of(per_second=1, burst=1)}, ManualClock())
    await limiter.check(Limit.LOGIN, "2001:db8:0:1::1")
    with pytest.raises(LimitExceeded):
        await limiter.check(Limit.LOGIN, "2001:db8:0:1:ffff::9")
    await limiter.check(Limit.LOGIN, "2001:db8:0:2::1")
    await limiter.check(Limit.LOGIN, "192.0.2.1")
    with pytest.raises(LimitExceeded):
        await limiter.check(Limit.LOGIN, "::ffff:192.0.2.1")
    await limiter.check(Limit.LOGIN, "192.0.2.2")
    await limiter.check(Limit.MESSAGES, "192.0.2.2")


async def test_the_limiter_forgets_the_longest_inactive_first() -> None:
    rate = RateLimit.of(per_second=0.001, burst=2)
    limiter = InMemoryRateLimiter({Limit.LOGIN: rate}, ManualClock(), max_cells=2)
    for caller in ("a", "b", "a", "c"):
        await limiter.check(Limit.LOGIN, caller)
    with pytest.raises(LimitExceeded):
        await limiter.check(Limit.LOGIN, "a")


async def test_the_memory_of_the_limiter_is_bounded() -> None:
    clock = ManualClock()
    rate = RateLimit.of(per_second=1, burst=5)
    limiter = InMemoryRateLimiter({Limit.LOGIN: rate, Limit.MESSAGES: rate}, clock, max_cells=50)
    for number in range(1_000):
        await limiter.check(Limit.LOGIN, f"caller{number}")
        await limiter.check(Limit.MESSAGES, TOKENS["alice"] if number % 2 else "caller")
        assert len(limiter._cells) <= 50
        clock.now_ms += 1_000
        if number > 10:
            assert len(limiter._cells) < 5


# Responses


@pytest.mark.parametrize("path", ["/user", "/nothing", "/page", "/raise/bug", "/whole", "/empty"])
async def test_every_response_has_the_headers_for_browsers(path: str) -> None:
    """Client-server API, "Web Browser Clients"."""
    reply = await ask(request("GET", path, "Origin: https://app"))
    origin = "https://one" if path == "/whole" else "*"
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE, OPTIONS"
    assert reply.headers["access-control-allow-headers"] == "X-Requested-With, Content-Type, Authorization"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/user", "/admin", "/raise/bug", "/nothing", "*"])
async def test_options_gets_these_headers_and_does_nothing(path: str) -> None:
    reply = await ask(request("OPTIONS", path, "Access-Control-Request-Method: PUT"))
    assert reply.status == 204
    assert reply.body == b""
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "content-length" not in reply.headers


async def test_a_refusal_below_http_has_these_headers_too() -> None:
    reply = await ask(request("POST", "/object", body=b"a" * 20), body_limit=10)
    assert reply.status == 413
    assert reply.headers["access-control-allow-origin"] == "*"


async def test_json_is_called_so_and_kept_out_of_caches() -> None:
    reply = await ask(request("GET", "/_matrix/client/v1/only"))
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["date"] == "Tue, 14 Nov 2023 22:30:00 GMT"
    assert reply.body == b"{}"


async def test_the_date_goes_on() -> None:
    async with serving(Api()) as server:
        client = await server.connect()
        await client.get("/_matrix/client/v1/only")
        server.clock.now_ms += 1_000
        reply = await client.get("/_matrix/client/v1/only")
        assert reply.headers["date"] == "Tue, 14 Nov 2023 22:30:01 GMT"


async def test_a_response_of_its_own_and_the_whole_request() -> None:
    reply = await ask(request("GET", "/whole", "User-Agent: U", "X: 1", "x: 2"))
    assert (reply.status, reply.body) == (418, b"GET U [b'1', b'2']")
    assert reply.headers["content-type"] == "text/plain"
    assert "cache-control" not in reply.headers


@pytest.mark.parametrize(
    ("what", "status", "expected"),
    [
        ("forbidden", 403, {"errcode": "M_FORBIDDEN", "error": "no"}),
        ("conflict", 409, {"errcode": "M_UNKNOWN", "error": "taken"}),
        ("token", 401, {"errcode": "M_UNKNOWN_TOKEN", "soft_logout": True}),
        ("locked", 401, {"errcode": "M_USER_LOCKED", "soft_logout": True}),
        ("later", 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}),
        ("status", 502, {"errcode": "M_BAD_STATUS", "status": 500, "body": "b"}),
        ("not_found", 404, {"errcode": "M_NOT_FOUND"}),
        ("storage", 503, {"errcode": "M_UNKNOWN"}),
    ],
)
async def test_errors(what: str, status: int, expected: dict[str, Any]) -> None:
    reply = await ask(request("GET", f"/raise/{what}"))
    error = json.loads(reply.body)
    assert reply.status == status
    assert error | expected == error
    assert reply.headers.get("retry-after") == {"later": "2", "storage": "5"}.get(what)


@pytest.mark.parametrize(
    "path", ["/raise/bug", "/unwritable/json", "/unwritable/header", "/unwritable/nothing"]
)
async def test_a_bug_is_logged_and_tells_the_client_nothing(path: str) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        reply = await ask(request("GET", path))
    error = json.loads(reply.body)
    assert reply.status == 500
    (line,) = [line for line in lines if line["event"] == "request failed"]
    assert error == {
        "errcode": "M_UNKNOWN",
        "error": f"internal server error (request {line['request']})",
    }
    assert line["exc_info"]
    assert line["log_level"] == "error"


# Logs and metrics


async def test_one_line_per_request_and_its_name_on_all_its_lines() -> None:
    log = structlog.get_logger("test")
    gates: dict[str, Deferred[None]] = {"a": Deferred(), "b": Deferred()}

    @attrs.frozen
    class Logging:
        @endpoint("GET", "/log/{name}", auth=Auth.OPTIONAL)
        async def get(self, name: str, request: Request) -> JsonObject:
            log.info("before", name=name, id=request.id)
            await gates[name]
            log.info("after", name=name, id=request.id)
            return {}

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with serving(Logging()) as server:
            first, second = await server.connect(), await server.connect()
            first.send(request("GET", "/log/a?access_token=alice"))
            second.send(request("GET", "/log/b"))
            await until(lambda: len(lines) == 2)
            gates["b"].callback(None)
            await second.read_reply()
            gates["a"].callback(None)
            await first.read_reply()
            await first.get("/nowhere/secret%20path?access_token=alice")
            log.info("outside")
    assert all(line["request"] == line["id"] for line in lines if "id" in line)
    own = {line["name"]: line["id"] for line in lines if "id" in line}
    assert own["a"] != own["b"]
    done = [line for line in lines if line["event"] == "request"]
    assert [(line["request"], line["route"], line["status"], line["user"]) for line in done[:2]] == [
        (own["b"], "/log/{name}", 200, None),
        (own["a"], "/log/{name}", 200, "@alice:x"),
    ]
    assert done[2]["status"] == 404
    assert done[2]["route"] == "/nowhere/secret%20path"
    assert all(line["ip"] == "127.0.0.1" and line["ms"] == 0 for line in done)
    assert "access_token" not in str(lines)
    assert "request" not in lines[-1]


async def test_what_is_refused_on_a_connection_does_not_bear_the_name_of_the_request_before() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with serving(Api()) as server:
            client = await server.connect()
            client.send(request("GET", "/_matrix/client/v1/only") + b"broken\r\n\r\n")
            await client.closed()
    assert [(line["event"], "request" in line) for line in lines] == [
        ("request", True),
        ("request refused", False),
    ]


async def test_metrics_count_by_route_and_status() -> None:
    registry = CollectorRegistry()
    async with serving(Api(), metrics=PrometheusRequestMetrics(registry)) as server:
        client = await server.connect()
        for path in ("/raise/forbidden", "/raise/forbidden", "/raise/not_found", "/nowhere"):
            await client.get(path)
        await client.ask(b"broken\r\n\r\n")

    def count(**labels: str) -> float | None:
        return registry.get_sample_value("homeserver_http_requests_total", labels)

    assert count(method="GET", route="/raise/{what}", status="403") == 2
    assert count(method="GET", route="/raise/{what}", status="404") == 1
    assert count(method="GET", route="", status="404") == 1
    assert count(method="", route="", status="405") == 1
    name = "homeserver_http_request_seconds_count"
    assert registry.get_sample_value(name, {"method": "GET", "route": "/raise/{what}"}) == 3


def test_responses_check_their_headers() -> None:
    for header in (
        (b"A b", b""),
        (b"A", b"\n"),
        (b"A:", b""),
        (b"", b""),
        (b"A", b"\0"),
        (b"Connection", b"x"),
    ):
        with pytest.raises(ValueError, match="not a header"):
            Response(200, (*JSON_HEADERS, header))
