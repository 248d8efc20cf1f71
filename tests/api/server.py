"""A real server in the test's process, and clients that talk to it over HTTP."""

import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

import argon2
import attrs
import treq
from sqlalchemy import bindparam, update
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from homeserver.app.build import Reactor, Server, build
from homeserver.config.sections import Config, Listener, RateLimits, Registration
from homeserver.core.signing import SigningKey
from homeserver.database.statements import statement
from homeserver.database.tables.accounts import users
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock, SystemClock
from tests.api.traffic import watch
from tests.openapi import Specification

SHARED_SECRET = "a secret of the tests"
PASSWORD = "a password of the tests"
SERVER_NAME = "test.example"

LIGHT = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes as the server's own does, with next to no work: nearly every test makes users."""

_numbers = itertools.count(1)


@attrs.frozen
class Answer:
    """A response: its status, its decoded JSON, and its headers in lower case; of a page its text instead of JSON."""

    status: int
    json: Any
    headers: Mapping[str, str]
    page: str | None = None

    def ok(self) -> Any:
        """The JSON of a 200."""
        assert self.status == 200, (self.status, self.json)
        return self.json

    def error(self, status: int, errcode: str) -> Any:
        """The JSON of an error that must be this one."""
        assert (self.status, self.json.get("errcode")) == (status, errcode), (self.status, self.json)
        return self.json


@implementer(IBodyProducer)
class Whole:
    """The body of a request, written in one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - Twisted's name
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 - as above
        """All has been written."""

    def resumeProducing(self) -> None:  # noqa: N802 - as above
        """All has been written."""

    def stopProducing(self) -> None:  # noqa: N802 - as above
        """All has been written."""


@attrs.define
class Client:
    """A client of one device. Every exchange is checked against the specification where its files are there."""

    base_url: str
    specification: Specification | None
    pool: HTTPConnectionPool
    user_id: str = ""
    device_id: str = ""
    access_token: str | None = None
    acts_as: Mapping[str, str] = attrs.field(factory=dict)
    """What goes into each query: whom an application service acts as."""

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        check: bool = True,
        token: str | None = None,
    ) -> Answer:
        """Send one request; `path` is percent-encoded already, as by `path_of`."""
        sent = dict(headers or {})
        access_token = self.access_token if token is None else token
        if access_token:
            sent["Authorization"] = f"Bearer {access_token}"
        producer = None
        if body is not None:
            producer = Whole(json.dumps(body).encode() if not isinstance(body, bytes) else body)
            sent.setdefault("Content-Type", "application/json")
        asked = {**self.acts_as, **(query or {})}
        url = self.base_url + path + (f"?{urlencode(asked, doseq=True)}" if asked else "")
        # Not treq.request: it works longer at a URL than the server does at most requests.
        response = await Agent(reactor, pool=self.pool).request(
            method.encode(), url.encode(), Headers({key: [value] for key, value in sent.items()}), producer
        )
        content = await treq.content(response)
        received = {
            key.decode().lower(): values[0].decode() for key, values in response.headers.getAllRawHeaders()
        }
        if received.get("content-type") == "text/html; charset=utf-8":
            check_page(received)
            return Answer(response.code, None, received, content.decode())
        decoded = json.loads(content) if content else None
        answer = Answer(response.code, decoded, received)
        # "Web Browser Clients" and "API Standards": of every answer, errors included.
        assert answer.headers["access-control-allow-origin"] == "*"
        assert not content or answer.headers["content-type"] == "application/json"
        if check and self.specification is not None:
            request = None if isinstance(body, bytes) else body
            self.specification.check(method, path, request, answer.status, decoded, query=asked)
        return answer

    async def get(self, path: str, **query: object) -> Answer:
        """GET with a query."""
        return await self.request("GET", path, query=query or None)

    async def put(self, path: str, body: object = None, **query: object) -> Answer:
        """PUT a JSON body."""
        return await self.request("PUT", path, {} if body is None else body, query=query or None)

    async def post(self, path: str, body: object = None, **query: object) -> Answer:
        """POST a JSON body."""
        return await self.request("POST", path, {} if body is None else body, query=query or None)

    async def submit(self, path: str, **fields: str) -> Answer:
        """POST a form, as a browser does."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.request("POST", path, urlencode(fields).encode(), headers=kind)

    async def delete(self, path: str, body: object = None, **query: object) -> Answer:
        """DELETE."""
        return await self.request("DELETE", path, body, query=query or None)

    # What most tests do with rooms.

    async def create_room(self, **options: object) -> str:
        """Create a room; gives its id."""
        return cast("str", (await self.post("/_matrix/client/v3/createRoom", options)).ok()["room_id"])

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user."""
        (await self.post(room_path(room_id, "invite"), {"user_id": user_id})).ok()

    async def join(self, room_id: str) -> None:
        """Join a room."""
        (await self.post(path_of("join", room_id))).ok()

    async def leave(self, room_id: str) -> None:
        """Leave a room."""
        (await self.post(room_path(room_id, "leave"))).ok()

    async def send(self, room_id: str, text: str, *, txn_id: str | None = None, **content: Any) -> str:
        """Send a text message; gives its event id."""
        body = {"msgtype": "m.text", "body": text, **content}
        return await self.send_event(room_id, "m.room.message", body, txn_id=txn_id)

    async def send_event(
        self, room_id: str, event_type: str, content: object, *, txn_id: str | None = None
    ) -> str:
        """Send a message event; gives its event id."""
        path = room_path(room_id, "send", event_type, txn_id or f"t{next(_numbers)}")
        return cast("str", (await self.put(path, content)).ok()["event_id"])

    async def set_state(self, room_id: str, event_type: str, content: object, state_key: str = "") -> str:
        """Set state; gives the event id."""
        path = room_path(room_id, "state", event_type, state_key)
        return cast("str", (await self.put(path, content)).ok()["event_id"])

    async def sync(  # the parameter is the specification's
        self,
        since: str | None = None,
        *,
        timeout: int = 0,  # noqa: ASYNC109 - as above
        **query: Any,
    ) -> Any:
        """One sync; the JSON of its answer. A `filter` may be given as a dict."""
        if isinstance(query.get("filter"), dict):
            query["filter"] = json.dumps(query["filter"])
        if since is not None:
            query["since"] = since
        return (await self.get("/_matrix/client/v3/sync", timeout=timeout, **query)).ok()

    async def messages_in(self, room_id: str) -> list[str]:
        """The bodies of the messages in the room, oldest first, as `/messages` gives them."""
        answer = (await self.get(room_path(room_id, "messages"), dir="f", limit=1000)).ok()
        return [
            event["content"]["body"]
            for event in answer["chunk"]
            if event["type"] == "m.room.message" and "body" in event["content"]
        ]


@attrs.frozen
class TestServer:
    """A server that runs, and the means to talk to it."""

    __test__ = False

    server: Server
    base_url: str
    specification: Specification | None
    pool: HTTPConnectionPool
    clock: Clock

    def anonymous(self) -> Client:
        """A client without a token."""
        return Client(self.base_url, self.specification, self.pool)

    async def user(self, localpart: str, *, admin: bool = False) -> Client:
        """A new user with a device, by shared-secret registration."""
        client = self.anonymous()
        nonce = (await client.get("/_synapse/admin/v1/register")).ok()["nonce"]
        role = "admin" if admin else "notadmin"
        text = f"{nonce}\0{localpart}\0{PASSWORD}\0{role}"
        mac = hmac.new(SHARED_SECRET.encode(), text.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": localpart, "password": PASSWORD, "admin": admin, "mac": mac}
        return _logged_in(client, (await client.post("/_synapse/admin/v1/register", body)).ok())

    async def device(self, user: Client) -> Client:
        """One more device of a user."""
        client = self.anonymous()
        identifier = {"type": "m.id.user", "user": user.user_id}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        return _logged_in(client, (await client.post(path_of("login"), body)).ok())

    async def guest(self) -> Client:
        """A new guest."""
        client = self.anonymous()
        return _logged_in(client, (await client.post(path_of("register"), kind="guest")).ok())

    async def restrict(self, user: Client, how: Literal["is_locked", "is_suspended"]) -> None:
        """Lock or suspend a user's account."""
        await self.server.database.write(_restrict, user.user_id, how)


def check_page(headers: Mapping[str, str]) -> None:
    """What the headers of every page must say."""
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
        assert part in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def _logged_in(client: Client, made: Mapping[str, str]) -> Client:
    """The client with what a login or a registration has given it."""
    return attrs.evolve(
        client, user_id=made["user_id"], device_id=made["device_id"], access_token=made["access_token"]
    )


def _restrict(tx: WriteTransaction, user_id: str, how: str) -> None:
    tx.execute(
        statement(update(users).where(users.c.user_id == bindparam("the_user")).values({how: 1})),
        the_user=user_id,
    )


@asynccontextmanager
async def running_server(
    database: str,
    folder: Path,
    specification: Specification | None,
    *,
    clock: Clock | None = None,
    key: SigningKey | None = None,
    network: Reactor | None = None,
    hasher: argon2.PasswordHasher = LIGHT,
    **options: Any,
) -> AsyncIterator[TestServer]:
    """A server on a free port. `options` replace sections of the configuration.

    `key` is what it signs with, `network` what it listens and connects by, `hasher` what it hashes passwords
    with, where those matter.
    """
    sections: dict[str, Any] = {
        "server_name": SERVER_NAME,
        "listeners": (Listener(port=0),),
        "rate_limits": RateLimits(enabled=False),
        "registration": Registration(enabled=True, shared_secret=SHARED_SECRET, allow_guests=True),
        **options,
    }
    config = Config(
        data_dir=folder,
        database=database,
        signing_key_path=folder / "signing.key",
        **sections,
    )
    clock = clock or SystemClock()
    key = key or SigningKey.generate("test", seed=hashlib.sha256(b"the key of the tests").digest())
    server = build(config, key, network or cast("Reactor", reactor), clock, hasher=hasher)
    problems = [] if specification is None else watch(server, specification)
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = 50
    await server.start()
    try:
        yield TestServer(server, f"http://127.0.0.1:{server.ports[0]}", specification, pool, clock)
    finally:
        await cast("Deferred[None]", pool.closeCachedConnections())
        await server.stop()
    assert not problems, problems


def room_path(room_id: str, *parts: str) -> str:
    """`/rooms/{roomId}/...`, percent-encoded."""
    return path_of("rooms", room_id, *parts)


def path_of(*parts: str, version: str = "v3") -> str:
    """A path of the client-server API, each part percent-encoded."""
    return f"/_matrix/client/{version}/" + "/".join(quote(part, safe="") for part in parts)
