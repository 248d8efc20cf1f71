"""Server-server API, "Request Authentication": requests as they come over the wire."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, canonical
from homeserver.core.server_keys import WantedKey
from homeserver.core.server_lists import ServerLists
from homeserver.core.signing import SigningKey, sign_json
from homeserver.core.x_matrix import XMatrix, sign_request, signed_request
from homeserver.http.endpoints import Auth, endpoint
from homeserver.services import federation_authentication
from homeserver.services.federation_authentication import MOST_EXAMINED, FederationAuthentication
from tests.api.http_harness import Reply, ServerUnderTest, serving, until

US = ServerName("us.test")
THEM = ServerName("them.test:8448")
NEIGHBOUR = ServerName("neighbour.test")
KEY = SigningKey.generate("now", seed=bytes(32))
FORMER = SigningKey.generate("former", seed=bytes([1] * 32))
PATH = "/_matrix/federation/v1/thing/%21a%3Ab"


@attrs.define
class KnownKeys:
    """Current keys by server; what was asked for is remembered."""

    keys: dict[tuple[str, str], bytes] = attrs.field(factory=lambda: {(THEM, KEY.key_id): KEY.verify_key})
    asked: list[WantedKey] = attrs.field(factory=list)
    held: Deferred[None] | None = None

    async def current(self, server_name: ServerName, key_id: str) -> bytes | None:
        self.asked.append(WantedKey(server_name, key_id, None))
        if self.held is not None:
            await self.held
        return self.keys.get((server_name, key_id))


class Neighbourhood:
    """One server shares a room."""

    async def shares_room(self, server_name: ServerName) -> bool:
        return server_name == NEIGHBOUR


class Things:
    """Endpoints for servers."""

    @endpoint("GET", "/_matrix/federation/v1/thing/{thing}", auth=Auth.SERVER)
    async def get(self, origin: ServerName, thing: str) -> JsonObject:
        return {"origin": origin, "thing": thing}

    @endpoint("PUT", "/_matrix/federation/v1/thing/{thing}", auth=Auth.SERVER)
    async def put(self, origin: ServerName, thing: str, body: JsonObject) -> JsonObject:
        return {"origin": origin, "thing": thing, "body": body}


@attrs.define
class Door:
    """A server, and what it knows."""

    server: ServerUnderTest
    keys: KnownKeys
    heard: list[ServerName]

    async def ask(
        self, headers: Sequence[str], method: str = "GET", target: str = PATH, body: bytes = b""
    ) -> Reply:
        connection = await self.server.connect()
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: us.test",
            *(f"Authorization: {each}" for each in headers),
        ]
        if body or method == "PUT":
            lines.append(f"Content-Length: {len(body)}")
        return await connection.ask("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


@asynccontextmanager
async def opened(lists: ServerLists | None = None) -> AsyncIterator[Door]:
    keys = KnownKeys()
    heard: list[ServerName] = []
    authentication = FederationAuthentication(
        US, keys, lists or ServerLists.of(), Neighbourhood(), [heard.append]
    )
    async with serving(Things(), server_authenticator=authentication) as server:
        yield Door(server, keys, heard)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with opened() as made:
        yield made


async def test_one_address_has_only_so_many_claims_examined_at_once() -> None:
    async with opened() as door:
        door.keys.held = Deferred()
        waiting = [Deferred.fromCoroutine(door.ask([header()])) for _ in range(MOST_EXAMINED)]
        await until(lambda: len(door.keys.asked) == MOST_EXAMINED)
        assert errcode(await door.ask([header()])) == (429, "M_LIMIT_EXCEEDED")
        door.keys.held.callback(None)
        assert {reply.status for reply in await gatherResults(waiting)} == {200}
        assert (await door.ask([header()])).status == 200


async def test_made_up_names_from_many_addresses_leave_room_for_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(federation_authentication, "MOST_STRANGERS", 20)
    async with opened() as door:
        door.keys.keys[NEIGHBOUR, KEY.key_id] = KEY.verify_key
        held = door.keys.held = Deferred()
        waiting = [
            Deferred.fromCoroutine(door.ask([header(origin=ServerName(f"made{number}.test"))]))
            for number in range(20)
        ]
        await until(lambda: len(door.keys.asked) == 20)
        refused = await door.ask([header(origin=ServerName("made20.test"))])
        assert errcode(refused) == (429, "M_LIMIT_EXCEEDED")
        door.keys.held = None
        assert (await door.ask([header(origin=NEIGHBOUR)])).status == 200
        held.callback(None)
        assert {reply.status for reply in await gatherResults(waiting)} == {401}


def header(
    method: str = "GET",
    target: str = PATH,
    content: JsonObject | None = None,
    *,
    key: SigningKey = KEY,
    destination: ServerName = US,
    origin: ServerName = THEM,
) -> str:
    data = None if content is None else canonical(content)
    return sign_request(method, target, origin, destination, data, key).header()


def errcode(reply: Reply) -> tuple[int, str]:
    return reply.status, json.loads(reply.body)["errcode"]


async def test_a_signed_request_is_let_in(door: Door) -> None:
    reply = await door.ask([header()])
    assert reply.status == 200
    assert json.loads(reply.body) == {"origin": THEM, "thing": "!a:b"}
    assert door.heard == [THEM]


async def test_path_and_query_are_signed_as_they_were_sent(door: Door) -> None:
    for target in (f"{PATH}?a=%20+x&b=%C3%A4", "/_matrix/federation/v1/thing/!a:b"):
        assert (await door.ask([header(target=target)], target=target)).status == 200
    assert errcode(await door.ask([header(target=f"{PATH}?a=1")], target=f"{PATH}?a=2")) == (
        401,
        "M_UNAUTHORIZED",
    )
    assert errcode(await door.ask([header()], target="/_matrix/federation/v1/thing/!a:b")) == (
        401,
        "M_UNAUTHORIZED",
    )


async def test_the_content_is_signed_as_json(door: Door) -> None:
    content: JsonObject = {"b": [1, "ä"], "a": {}}
    body = b' { "a" : {}, "b": [1, "\\u00e4"] }'
    reply = await door.ask([header("PUT", content=content)], "PUT", body=body)
    assert reply.status == 200
    assert json.loads(reply.body)["body"] == content
    changed = body.replace(b"1", b"2")
    assert errcode(await door.ask([header("PUT", content=content)], "PUT", body=changed)) == (
        401,
        "M_UNAUTHORIZED",
    )


async def test_no_body_is_no_content_and_an_empty_object_is_one(door: Door) -> None:
    assert (await door.ask([header("PUT")], "PUT")).status == 200
    assert (await door.ask([header("PUT", content={})], "PUT", body=b"{}")).status == 200
    assert errcode(await door.ask([header("PUT", content={})], "PUT")) == (401, "M_UNAUTHORIZED")
    assert errcode(await door.ask([header("PUT")], "PUT", body=b"{}")) == (401, "M_UNAUTHORIZED")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"x", "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'{"a": 1, "a": 1}', "M_BAD_JSON"),
        (b'{"a": "\xff"}', "M_NOT_JSON"),
    ],
)
async def test_bodies_that_two_servers_might_read_differently(door: Door, body: bytes, code: str) -> None:
    assert errcode(await door.ask([header("PUT", content={"a": 1})], "PUT", body=body)) == (400, code)


async def test_the_method_is_signed(door: Door) -> None:
    assert errcode(await door.ask([header("GET")], "PUT")) == (401, "M_UNAUTHORIZED")


async def test_a_request_for_another_server_is_refused(door: Door) -> None:
    """Else whoever we talk to could repeat to a third server what we say."""
    other = header(destination=ServerName("third.test"))
    assert errcode(await door.ask([other])) == (401, "M_UNAUTHORIZED")
    # Not even with a destination that is not what was signed.
    assert errcode(await door.ask([other.replace("third.test", "us.test")])) == (401, "M_UNAUTHORIZED")
    assert door.heard == []


async def test_older_servers_name_no_destination(door: Door) -> None:
    request = sign_json(signed_request("GET", PATH, THEM, None, None), THEM, KEY)
    signature = request["signatures"][THEM][KEY.key_id]  # type: ignore[index, call-overload]  # JSON
    assert isinstance(signature, str)
    old = XMatrix(THEM, None, KEY.key_id, signature).header()
    assert (await door.ask([old])).status == 200


async def test_it_may_be_written_in_other_ways(door: Door) -> None:
    parts = sign_request("GET", PATH, THEM, US, None, KEY)
    written = (
        f'x-matrix  SIG="{parts.signature}" , Key={KEY.key_id},\torigin={THEM}, destination="u\\s.test",x=y'
    )
    assert (await door.ask([written])).status == 200


async def test_of_several_keys_one_is_enough(door: Door) -> None:
    assert (await door.ask([header(key=FORMER), header()])).status == 200
    assert errcode(await door.ask([header(key=FORMER)] * 5)) == (401, "M_UNAUTHORIZED")
    both = [header(), header(origin=ServerName("other.test"))]
    assert errcode(await door.ask(both)) == (401, "M_UNAUTHORIZED")


async def test_a_key_that_is_not_current_does_not_do(door: Door) -> None:
    assert errcode(await door.ask([header(key=FORMER)])) == (401, "M_UNAUTHORIZED")
    assert errcode(await door.ask([header(origin=ServerName("other.test"))])) == (401, "M_UNAUTHORIZED")
    assert door.heard == []


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Bearer token"],
        ["X-Matrix"],
        ["X-Matrix origin=them.test"],
        ['X-Matrix origin="them.test",key="ed25519:now",sig="!"'],
        ['X-Matrix origin="them.test",key="curve9:now",sig="AA"'],
        ['X-Matrix origin="them.test",key="now",sig="AA"'],
        ['X-Matrix origin="a b",key="ed25519:now",sig="AA"'],
        ['X-Matrix origin="../../etc",key="ed25519:now",sig="AA"'],
        ['X-Matrix origin="ä.test",key="ed25519:now",sig="AA"'],
        [f'X-Matrix origin="{"a" * 3_000}",key="ed25519:now",sig="AA"'],
    ],
)
async def test_what_is_no_signature(door: Door, headers: list[str]) -> None:
    assert errcode(await door.ask(headers)) == (401, "M_UNAUTHORIZED")
    assert door.heard == []


async def test_nothing_is_looked_up_for_who_is_no_server_or_not_dealt_with() -> None:
    async with opened(ServerLists.of(deny=["them.*"])) as door:
        assert errcode(await door.ask([header()])) == (403, "M_FORBIDDEN")
        assert errcode(await door.ask([header(origin=ServerName("no server"))])) == (401, "M_UNAUTHORIZED")
        assert errcode(
            await door.ask([header(destination=ServerName("x.test"), origin=ServerName("y.test"))])
        ) == (
            401,
            "M_UNAUTHORIZED",
        )
        assert not door.keys.asked
    async with opened(ServerLists.of(allow=["good.test"])) as door:
        assert errcode(await door.ask([header()])) == (403, "M_FORBIDDEN")
        assert not door.keys.asked
