"""From a request to an endpoint's arguments, and from what it returns or raises to the response."""

import enum
import json
from typing import Any, NewType

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.identifiers import EventID, RoomAlias, RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.application import Application
from homeserver.http.endpoints import Auth, EndpointError, endpoint, endpoints_of
from homeserver.http.rate_limits import InMemoryRateLimiter
from homeserver.http.request import decode_percent
from homeserver.http.response import RawJson
from homeserver.http.router import Router
from tests.api.http_harness import KnownTokens, ManualClock, Reply, request, serving

Handle = NewType("Handle", str)


class Kind(enum.Enum):
    ROUND = "round"


class Point(msgspec.Struct):
    x: int
    y: list[str] = []


class Paging(msgspec.Struct):
    direction: str = msgspec.field(name="dir")
    limit: int = 10
    full: bool = False
    since: str | None = None
    via: list[str] | None = None


@attrs.frozen
class Api:
    """One endpoint per way of being asked."""

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/event/{event_id}", auth=Auth.NONE)
    async def event(self, room_id: RoomID, event_id: EventID) -> JsonObject:
        return {"room": room_id, "event": event_id}

    @endpoint("GET", "/_matrix/client/v3/echo/{text}", auth=Auth.NONE)
    async def echo(self, text: str) -> JsonObject:
        return {"text": text}

    @endpoint("GET", "/_matrix/client/v3/echo/literal", auth=Auth.NONE)
    async def literal(self) -> JsonObject:
        return {"text": "the literal path"}

    @endpoint("GET", "/_matrix/client/v3/echo/literal/{one}/x", auth=Auth.NONE)
    async def below_literal(self, one: str) -> JsonObject:
        return {"below literal": one}

    @endpoint("GET", "/_matrix/client/v3/echo/{two}/{three}/y", auth=Auth.NONE)
    async def below_parameter(self, two: str, three: str) -> JsonObject:
        return {"below parameter": [two, three]}

    @endpoint("GET", "/_matrix/client/v1/only", auth=Auth.NONE)
    async def only(self) -> JsonObject:
        return {}

    @endpoint("PUT", "/_matrix/client/v3/state/{event_type}", auth=Auth.NONE)
    @endpoint("PUT", "/_matrix/client/v3/state/{event_type}/{state_key}", auth=Auth.NONE)
    async def state(self, event_type: str, body: JsonObject, state_key: str = "") -> JsonObject:
        return {"type": event_type, "key": state_key, "content": body}

    @endpoint("GET", "/typed/{count}/{kind}/{handle}/{user_id}/{alias}/{server}", auth=Auth.NONE)
    async def typed(
        self, count: int, kind: Kind, handle: Handle, user_id: UserID, alias: RoomAlias, server: ServerName
    ) -> JsonObject:
        return {"all": [count, kind.value, handle, user_id, alias, server]}

    @endpoint("POST", "/point", auth=Auth.NONE)
    async def point(self, body: Point) -> Point:
        return body

    @endpoint("POST", "/list", auth=Auth.NONE)
    async def list(self, body: list[int]) -> JsonObject:
        return {"sum": sum(body)}

    @endpoint("POST", "/object", auth=Auth.NONE)
    @endpoint("DELETE", "/object", auth=Auth.NONE)
    async def anything(self, body: JsonObject) -> JsonObject:
        return {"got": body}

    @endpoint("POST", "/bytes", auth=Auth.NONE)
    async def bytes(self, body: bytes) -> RawJson:
        return RawJson(b'{"size":%d}' % len(body), status=201)

    @endpoint("GET", "/page", auth=Auth.NONE)
    async def page(self, query: Paging) -> Paging:
        return query


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


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/_matrix/client/v3/rooms/!r:x/event/$e",
        "/_matrix/client/v3/rooms/%21r%3Ax/event/%24e",
        "/_matrix/client/v3/rooms/%21r:x/event/$e",
        "/_matrix/client/v3/rooms/!r%3ax/event/%24e/",
        "/_matrix/client/r0/rooms/!r:x/event/$e",
        "/_matrix/client/r0/rooms/!r:x/event/$e/?access_token=t",
    ],
)
async def test_identifiers_are_the_same_however_they_are_encoded(path: str) -> None:
    assert await get(path) == (200, {"room": "!r:x", "event": "$e"})


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("a%2Fb", "a/b"),
        ("a%2fb%2F", "a/b/"),
        ("a+b", "a+b"),
        ("a%2Bb%20c", "a+b c"),
        ("%25", "%"),
        ("%2525", "%25"),
        ("%F0%9F%90%88", "\U0001f408"),
        ("..", ".."),
        ("a;b=c", "a;b=c"),
        ("%6citeral", "literal"),
    ],
)
async def test_path_parameters_are_decoded_once_and_after_splitting(segment: str, text: str) -> None:
    assert await get(f"/_matrix/client/v3/echo/{segment}") == (200, {"text": text})


@pytest.mark.parametrize("segment", ["%FF", "%C3%28", "%ED%A0%80", "%", "%4", "%zz", "a%", "%%25", "a%00b"])
async def test_what_is_no_text_is_an_invalid_parameter(segment: str) -> None:
    status, error = await get(f"/_matrix/client/v3/echo/{segment}")
    assert (status, error["errcode"]) == (400, "M_INVALID_PARAM")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_whatever_is_encoded_is_decoded(text: str) -> None:
    for safe in ("", "%21"[1:], "/:!$@+"):
        encoded = "".join(
            character if character in safe else "".join(f"%{byte:02x}" for byte in character.encode())
            for character in text
        )
        assert decode_percent(encoded, what="it") == text


async def test_literal_segments_go_before_parameters_where_both_lead_somewhere() -> None:
    base = "/_matrix/client/v3/echo/literal"
    assert await get(base) == (200, {"text": "the literal path"})
    assert await get(base + "/a/x") == (200, {"below literal": "a"})
    assert await get(base + "/a/y") == (200, {"below parameter": ["literal", "a"]})
    assert (await get(base + "/a/z"))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/_matrix/client/v3/nothing",
        "/_matrix/client/v3/echo",
        "/_matrix/client/v3/echo//",
        "/_matrix//client/v3/echo/a",
        "//_matrix/client/v3/echo/a",
        "/_matrix/client/v3/echo/a//",
        "/_matrix/client/v3/echo/a/b",
        "/_matrix/client/r0/only",
        "/_matrix/client/v2/echo/a",
        "/%5Fmatrix/client/v3/echo/a",
        "/_matrix/client/v3/x/../echo/a",
    ],
)
async def test_unknown_paths(path: str) -> None:
    status, error = await get(path)
    assert (status, error["errcode"]) == (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_a_known_path_with_another_method(method: str) -> None:
    reply = await ask(request(method, "/_matrix/client/v1/only"))
    assert reply.status == 405
    assert json.loads(reply.body)["errcode"] == "M_UNRECOGNIZED"


async def test_one_method_may_serve_several_paths() -> None:
    base = "/_matrix/client/v3/state/t"
    for path, key in ((base, ""), (base + "/", ""), (base + "/k", "k"), (base + "/%2F", "/")):
        assert await post(path, b"{}", "PUT") == (200, {"type": "t", "key": key, "content": {}})


async def test_path_parameters_of_other_types() -> None:
    good = "/typed/7/round/h/@u:x/%23a:x/x:80"
    assert await get(good) == (200, {"all": [7, "round", "h", "@u:x", "#a:x", "x:80"]})
    for part in ("7", "round", "@u:x", "%23a:x", "x:80"):
        status, error = await get(good.replace(part, "~"))
        assert (status, error["errcode"]) == (400, "M_INVALID_PARAM")


# Bodies


@pytest.mark.parametrize(
    ("path", "body", "status", "answer"),
    [
        ("/point", b'{"x":1}', 200, {"x": 1, "y": []}),
        ("/point", b'{"x":1,"y":["a"],"unknown":null}', 200, {"x": 1, "y": ["a"]}),
        ("/list", b"[1,2]", 200, {"sum": 3}),
        ("/object", b"{}", 200, {"got": {}}),
        ("/object", b"", 200, {"got": {}}),
        ("/bytes", b"", 201, {"size": 0}),
        ("/bytes", b"\xff\x00", 201, {"size": 2}),
        ("/point", b"", 400, "M_BAD_JSON"),
        ("/point", b'{"x":"1"}', 400, "M_BAD_JSON"),
        ("/point", b'{"x":1,"y":[1]}', 400, "M_BAD_JSON"),
        ("/point", b"[]", 400, "M_BAD_JSON"),
        ("/point", b'{"x":1,"x":1}', 400, "M_BAD_JSON"),
        ("/point", b'{"x":1,"unknown":{"a":1,"a":2}}', 400, "M_BAD_JSON"),
        ("/object", b"[]", 400, "M_BAD_JSON"),
        ("/object", b'{"a":1,"a":1}', 400, "M_BAD_JSON"),
        ("/object", b"[" * 100_000, 400, "M_BAD_JSON"),
        ("/object", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", 400, "M_BAD_JSON"),
        ("/object", b"{", 400, "M_NOT_JSON"),
        ("/object", b"x=y", 400, "M_NOT_JSON"),
        ("/object", b'{"a":NaN}', 400, "M_NOT_JSON"),
        ("/object", b'\xef\xbb\xbf{"a":1}', 400, "M_NOT_JSON"),
        ("/object", '{"a":1}'.encode("utf-16"), 400, "M_NOT_JSON"),
        ("/object", b'{"a":"\xff"}', 400, "M_NOT_JSON"),
        ("/object", b'{"a":"\\ud800"}', 400, "M_NOT_JSON"),
    ],
)
async def test_bodies(path: str, body: bytes, status: int, answer: object) -> None:
    got = await post(path, body)
    if isinstance(answer, str):
        assert (got[0], got[1]["errcode"]) == (status, answer)
    else:
        assert got == (status, answer)


async def test_the_wrong_part_of_a_body_is_named() -> None:
    _, error = await post("/point", b'{"x":1,"y":["a",2]}')
    assert "$.y[1]" in error["error"]
    _, error = await post("/point", b"{}")
    assert "`x`" in error["error"]


async def test_delete_may_have_a_body_and_need_not() -> None:
    assert await post("/object", b'{"a":1}', "DELETE") == (200, {"got": {"a": 1}})
    reply = await ask(request("DELETE", "/object"))
    assert json.loads(reply.body) == {"got": {}}


# Queries


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dir=b", {}),
        ("dir=b&limit=5&full=true&since=s1", {"limit": 5, "full": True, "since": "s1"}),
        ("dir=b&full=1", {"full": True}),
        ("dir=b&since=", {"since": ""}),
        ("dir=b&since", {"since": ""}),
        ("dir=b&since=null", {"since": "null"}),
        ("dir=b&since=a+b%2Bc%26%3D", {"since": "a b+c&="}),
        ("dir=b&%73ince=x", {"since": "x"}),
        ("dir=b&since=a=b", {"since": "a=b"}),
        ("dir=b&since=x&since=y", {"since": "x"}),
        ("dir=b&via=a&via=b", {"via": ["a", "b"]}),
        ("dir=b&via=a", {"via": ["a"]}),
        ("&&dir=b&unknown=x&", {}),
    ],
)
async def test_queries(query: str, expected: dict[str, Any]) -> None:
    usual = {"dir": "b", "limit": 10, "full": False, "since": None, "via": None}
    assert await get(f"/page?{query}") == (200, usual | expected)


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ("", "M_MISSING_PARAM"),
        ("limit=5", "M_MISSING_PARAM"),
        ("dir=b&limit=x", "M_INVALID_PARAM"),
        ("dir=b&limit=", "M_INVALID_PARAM"),
        ("dir=b&full=maybe", "M_INVALID_PARAM"),
        ("dir=b&since=%FF", "M_INVALID_PARAM"),
        ("dir=b&since=%zz", "M_INVALID_PARAM"),
        ("dir=b&since=%00", "M_INVALID_PARAM"),
        ("dir=b&" + "&".join(1_001 * "a"), "M_INVALID_PARAM"),
    ],
)
async def test_wrong_queries(query: str, errcode: str) -> None:
    status, error = await get(f"/page?{query}")
    assert (status, error["errcode"]) == (400, errcode)


# Declaring endpoints


def _declared(function: Any, path: str = "/a/{b}", auth: Auth = Auth.USER) -> list[Any]:
    cls = type("Declared", (), {"method": endpoint("GET", path, auth=auth)(function)})
    return list(endpoints_of(cls()))


async def _unknown(self: object, b: str, c: str) -> None: ...
async def _missing(self: object) -> None: ...
async def _query(self: object, b: str, query: dict[str, str]) -> None: ...
async def _requester(self: object, b: str, requester: Requester) -> None: ...
async def _origin(self: object, b: str, origin: ServerName) -> None: ...
async def _fine(self: object, b: str, c: str = "") -> None: ...


@pytest.mark.parametrize("function", [_unknown, _missing, _query, _origin])
def test_a_wrong_declaration_is_found_at_the_start(function: Any) -> None:
    with pytest.raises(EndpointError, match=r"Declared\.method"):
        _declared(function)


def test_a_requester_needs_authentication() -> None:
    assert _declared(_requester)
    with pytest.raises(EndpointError, match="no requester"):
        _declared(_requester, auth=Auth.NONE)


def test_endpoints_for_servers_need_somebody_who_knows_their_signatures() -> None:
    router = Router(_declared(_fine, auth=Auth.SERVER), body_limit=1)
    clock = ManualClock()
    with pytest.raises(EndpointError, match="signatures"):
        Application(router, KnownTokens(), InMemoryRateLimiter({}, clock), clock)


def test_two_endpoints_cannot_share_a_path() -> None:
    with pytest.raises(EndpointError, match="served twice"):
        Router([*_declared(_fine), *_declared(_fine)], body_limit=1)
    with pytest.raises(EndpointError, match="must start with a slash"):
        Router(_declared(_fine, "/a/{b}/"), body_limit=1)


@given(
    st.lists(st.sampled_from(["a", "b", "{x}", "{y}"]), min_size=1, max_size=4).map("/".join),
    st.lists(st.lists(st.sampled_from(["a", "b", "{x}"]), min_size=1, max_size=4).map("/".join), max_size=5),
)
@settings(max_examples=200)
def test_the_router_finds_exactly_what_a_slow_search_finds(path: str, templates: list[str]) -> None:
    """Every template is tried; of those that fit, the one with literals furthest to the left wins."""
    path = "/" + path.replace("{x}", "c").replace("{y}", "%2f")
    endpoints = {}
    for template in dict.fromkeys("/" + template for template in templates):
        parts = template.split("/")
        named = "/".join(f"{{p{place}}}" if part == "{x}" else part for place, part in enumerate(parts))
        names = [f"p{place}" for place, part in enumerate(parts) if part == "{x}"]
        source = f"async def method(self, {', '.join(f'{name}: str' for name in names)}): ..."
        scope: dict[str, Any] = {"str": str}
        exec(source, scope)
        endpoints[template] = _declared(scope["method"], named, Auth.NONE)[0]
    router = Router(endpoints.values(), body_limit=1)
    fitting = [
        template
        for template in endpoints
        if len(template.split("/")) == len(path.split("/"))
        and all(t in ("{x}", p) for t, p in zip(template.split("/"), path.split("/"), strict=True))
    ]
    match = router.match("GET", path)
    if not fitting:
        assert match.endpoint is None
        return
    best = min(fitting, key=lambda template: [part == "{x}" for part in template.split("/")])
    assert match.endpoint is endpoints[best]
    expected = [p for t, p in zip(best.split("/"), path.split("/"), strict=True) if t == "{x}"]
    assert list(match.values) == expected
