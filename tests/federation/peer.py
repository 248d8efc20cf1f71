"""A server that is none of ours: its keys, its TLS listener, and every word that it says are the test's.

What it answers is set by `Peer.answer`; the latest answer to a path counts. `peer_rooms` adds rooms that it is in.
"""

import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import quote, unquote, urlencode

import attrs
import treq
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import LoopingCall
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from homeserver.core.errors import MatrixError
from homeserver.core.hashes import encode_base64
from homeserver.core.identifiers import ServerName
from homeserver.core.json import JsonObject, canonical
from homeserver.core.signing import SigningKey, sign_json
from homeserver.http.tls import RenewableCertificate
from homeserver.runtime.clock import SystemClock
from tests.api.server import Answer
from tests.federation.certificates import Authority
from tests.federation.harness import free_port, signing_key

reactor = cast("Any", installed)

FEDERATION = "/_matrix/federation"

_numbers = count(1)


@attrs.frozen
class Heard:
    """A request that the peer got; `args` are what stands in the path where the answer's template has braces."""

    method: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


@attrs.frozen
class Reply:
    """A whole response. A body of bytes is sent as it is."""

    body: object = attrs.field(factory=dict)
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.define
class Endless:
    """A response without end: `chunk` again and again. `sent` counts the bytes that went out.

    With `every_s` of 0 as fast as the other side takes them.
    """

    chunk: bytes
    every_s: float = 0.0
    headers: Mapping[str, str] = attrs.field(factory=lambda: {"Content-Type": "application/json"})
    first: bytes = b""
    sent: int = 0
    is_over: bool = False
    """The other side has had enough."""


@attrs.frozen
class Broken:
    """The connection ends amidst the response, of which `first` is all that comes."""

    first: bytes = b""


class Silence:
    """No response, ever. The connection stays open."""


Said: TypeAlias = Reply | Endless | Broken | Silence | Mapping[str, Any]
Responder: TypeAlias = Callable[[Heard], Said | Awaitable[Said]]


@attrs.define(eq=False)
class Peer:
    """A foreign server that runs."""

    server_name: ServerName
    key: SigningKey
    port: int
    authority: Authority
    pool: HTTPConnectionPool
    heard: list[Heard] = attrs.field(factory=list)
    """All requests, oldest first."""
    _answers: list[tuple[str, re.Pattern[str], Responder]] = attrs.field(factory=list)
    _agent: Any = None

    def answer(self, method: str, template: str, said: Said | Responder) -> None:
        """From now on requests for a path like `/_matrix/federation/v1/event/{event_id}` get this."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]*)", re.escape(template))
        responder = said if callable(said) else (lambda _: said)
        self._answers.insert(0, (method, re.compile(pattern), cast("Responder", responder)))

    def heard_at(self, part: str) -> list[Heard]:
        """The requests with this in their path."""
        return [heard for heard in self.heard if part in heard.path]

    def server_keys(self, **changes: object) -> JsonObject:
        """Its answer about its own keys, signed; `changes` come before the signature."""
        keys: dict[str, Any] = {
            "server_name": self.server_name,
            "verify_keys": {self.key.key_id: {"key": encode_base64(self.key.verify_key)}},
            "old_verify_keys": {},
            "valid_until_ts": SystemClock().now_ts() + 3_600_000,
            **changes,
        }
        return sign_json(keys, self.server_name, self.key)

    def authorization(
        self,
        method: str,
        destination: str,
        uri: str,
        content: object = None,
        *,
        origin: str | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """The value of the header that signs a request; what it should not be, the test says."""
        origin, key = origin or self.server_name, key or self.key
        signed: dict[str, Any] = {
            "method": method,
            "uri": uri,
            "origin": origin,
            "destination": destination,
        }
        if content is not None:
            signed["content"] = content
        signatures = cast("Any", sign_json(signed, origin, key)["signatures"])
        signature = signatures[origin][key.key_id]
        return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'

    async def request(
        self,
        method: str,
        destination: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a signed request; a body of bytes goes as it is, signed as what it decodes to, if it does."""
        uri = path + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if authorization is None:
            content = _decoded(body) if isinstance(body, bytes) else body
            authorization = self.authorization(method, destination, uri, content)
        sent: dict[bytes | str, bytes | str] = {"Authorization": authorization}
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent.update((headers or {}).items())
        response = await treq.request(
            method, f"https://{destination}{uri}", headers=sent, data=data, agent=self._agent
        )
        content_ = await treq.content(response)
        return Answer(
            response.code,
            json.loads(content_) if content_ else None,
            {key.decode().lower(): values[0].decode() for key, values in response.headers.getAllRawHeaders()},
        )

    async def send(
        self,
        destination: str,
        pdus: Sequence[object] = (),
        edus: Sequence[object] = (),
        *,
        txn_id: str | None = None,
        **others: object,
    ) -> Answer:
        """Send a transaction."""
        body = {
            "origin": self.server_name,
            "origin_server_ts": SystemClock().now_ts(),
            "pdus": list(pdus),
            "edus": list(edus),
            **others,
        }
        return await self.request(
            "PUT", destination, federation("v1", "send", txn_id or f"peer{next(_numbers)}"), body
        )

    def _respond(self, request: HttpRequest) -> None:
        raw = request.uri.decode("ascii")
        path = raw.partition("?")[0]
        method = request.method.decode("ascii")
        query = {
            key.decode(): [value.decode() for value in values]
            for key, values in cast("dict[bytes, list[bytes]]", request.args or {}).items()
        }
        headers = {
            key.decode().lower(): values[0].decode("latin-1")
            for key, values in request.requestHeaders.getAllRawHeaders()
        }
        body = cast("Any", request.content).read()
        heard = Heard(method, path, {}, query, headers, body)
        responder: Responder = _unknown
        for wanted, pattern, said in self._answers:
            match = pattern.fullmatch(path)
            if match is not None and wanted == method:
                args = {name: unquote(value) for name, value in match.groupdict().items()}
                heard = attrs.evolve(heard, args=args)
                responder = said
                break
        self.heard.append(heard)
        Deferred.fromCoroutine(_say(request, heard, responder)).addErrback(_fail, request)


class _Site(Site):
    """Knows its connections, to end them with the test."""

    def __init__(self, root: Resource) -> None:
        super().__init__(root)  # type: ignore[no-untyped-call]  # Twisted's
        self.connections: set[Any] = set()

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        protocol = super().buildProtocol(addr)  # type: ignore[no-untyped-call]  # Twisted's
        self.connections.add(protocol)
        return protocol

    def abort(self) -> None:
        for protocol in self.connections:
            transport = protocol._channel.transport
            if transport is not None and transport.connected:
                transport.abortConnection()


class _Root(Resource):
    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, respond: Callable[[HttpRequest], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._respond = respond

    def render(self, request: HttpRequest) -> Any:
        self._respond(request)
        return NOT_DONE_YET


async def _say(request: HttpRequest, heard: Heard, responder: Responder) -> None:
    said = responder(heard)
    if inspect.isawaitable(said):
        lost: list[Failure] = []
        request.notifyFinish().addErrback(lost.append)
        said = await said
        if lost:
            # Nobody waits any more.
            return
    if isinstance(said, Silence):
        return
    if isinstance(said, Broken):
        request.setHeader("Content-Length", "1000000")
        if said.first:
            request.write(said.first)
        cast("Any", request.channel).transport.abortConnection()
        return
    if isinstance(said, Endless):
        _say_without_end(request, said)
        return
    reply = said if isinstance(said, Reply) else Reply(said)
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    request.setResponseCode(reply.status)
    for name, value in {"Content-Type": "application/json", **reply.headers}.items():
        request.setHeader(name, value)
    request.write(body)
    request.finish()


def _say_without_end(request: HttpRequest, said: Endless) -> None:
    for name, value in said.headers.items():
        request.setHeader(name, value)

    def say(chunk: bytes) -> None:
        if not said.is_over:
            said.sent += len(chunk)
            request.write(chunk)

    call = LoopingCall(say, said.chunk)

    def over(_: object) -> None:
        said.is_over = True
        if call.running:
            call.stop()

    request.notifyFinish().addBoth(over)
    say(said.first)
    if said.every_s:
        call.start(said.every_s)
    else:
        request.registerProducer(_Source(say, said.chunk), False)  # noqa: FBT003 - Twisted's own form


class _Source:
    """Gives the next chunk whenever the last one has gone."""

    def __init__(self, say: Callable[[bytes], None], chunk: bytes) -> None:
        self._say = say
        self._chunk = chunk

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        # Not within the call of the one who asks: it would ask again at once, and so on.
        reactor.callLater(0, self._say, self._chunk)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        pass


def _fail(failure: Any, request: HttpRequest) -> None:
    """The test's own answer is wrong: let the test see it, and nobody wait."""
    if not request._disconnected:
        request.setResponseCode(599)
        request.write(failure.getTraceback().encode())
        request.finish()
    failure.raiseException()


def _unknown(_: Heard) -> Reply:
    return Reply({"errcode": "M_UNRECOGNIZED", "error": "The peer has nothing to say to that"}, 404)


def _decoded(data: bytes) -> object:
    """What can be signed of a body; `None`, as if there was none, if that is nothing."""
    try:
        decoded = json.loads(data)
        canonical(decoded)
    except (ValueError, RecursionError, MatrixError):
        return None
    return decoded


def federation(version: str, *parts: str) -> str:
    """A path of the server-server API, each part percent-encoded."""
    return f"{FEDERATION}/{version}/" + "/".join(quote(part, safe="") for part in parts)


@asynccontextmanager
async def running_peer(
    authority: Authority, folder: Path, name: str = "peer", host: str = "localhost"
) -> AsyncIterator[Peer]:
    """A peer on a free port of this machine, its files in `folder`, which at first says nothing but its keys."""
    certificate, private_key = authority.certify(folder)
    port = free_port()
    pool = HTTPConnectionPool(reactor, persistent=True)
    trusted = trustRootFromCertificates([Certificate.loadPEM(authority.file.read_bytes())])
    agent = Agent(reactor, BrowserLikePolicyForHTTPS(trustRoot=trusted), pool=pool)
    peer = Peer(ServerName(f"{host}:{port}"), signing_key(name), port, authority, pool, agent=agent)
    peer.answer("GET", "/_matrix/key/v2/server", lambda _: peer.server_keys())
    peer.answer("GET", "/_matrix/key/v2/server/", lambda _: peer.server_keys())
    site = _Site(_Root(peer._respond))
    secured = RenewableCertificate(certificate, private_key, SystemClock())
    factory = TLSMemoryBIOFactory(secured, False, site)  # noqa: FBT003 - it is not a client
    listening: IListeningPort = reactor.listenTCP(port, factory, interface="127.0.0.1")
    try:
        yield peer
    finally:
        await cast("Deferred[None]", pool.closeCachedConnections())
        await cast("Deferred[None]", listening.stopListening())
        site.abort()
