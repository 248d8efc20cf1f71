"""Clients of streams, byte by byte: Server-Sent Events and WebSockets."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from tests.api.http_harness import REACTOR, RawClient, Reply, request
from tests.api.server import Client

PREFIX = "/_matrix/client/unstable/io.homeserver.streaming_sync"
HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def connect(client: Client) -> RawClient:
    """A connection to the server of `client`."""
    connected: Deferred[RawClient] = Deferred()

    class Connected(RawClient):
        def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
            connected.callback(self)

    factory = ClientFactory()
    factory.protocol = Connected
    factory.noisy = False
    REACTOR.connectTCP("127.0.0.1", urlsplit(client.base_url).port or 0, factory)
    return await connected


@attrs.frozen
class ServerEvent:
    """An event of a stream; `data` is decoded. Comments have neither ID, kind nor data."""

    id: str | None = None
    kind: str | None = None
    data: Any = None
    retry: int | None = None


@attrs.define
class EventSource:
    """A client of Server-Sent Events."""

    raw: RawClient
    head: Reply
    _text: bytes = b""

    async def event(self) -> ServerEvent:
        """The next event, or comment."""
        while b"\n\n" not in self._text:
            self._text += await self._chunk()
        block, self._text = self._text.split(b"\n\n", 1)
        fields: dict[str, Any] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(": ")
            if name != ":":
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        data, retry = fields.get("data"), fields.get("retry")
        return ServerEvent(
            fields.get("id"),
            fields.get("event"),
            None if data is None else json.loads(data),
            None if retry is None else int(retry),
        )

    async def rooms(self) -> Any:
        """The next answer that is about rooms."""
        while "rooms" not in (answer := await self.answer()):
            pass
        return answer

    async def answer(self) -> Any:
        """The next answer; what comes before it is passed over."""
        while (event := await self.event()).kind is None:
            pass
        assert event.kind == "sync", event
        assert event.id == event.data["next_batch"]
        return event.data

    async def end(self) -> list[ServerEvent]:
        """What is left; the stream must end."""
        found = []
        with contextlib.suppress(EOFError):
            while True:
                found.append(await self.event())
        return found

    async def _chunk(self) -> bytes:
        raw = self.raw
        await raw.until(lambda: b"\r\n" in raw.received)
        size = int(raw.received.split(b"\r\n", 1)[0], 16)
        begin = raw.received.index(b"\r\n") + 2
        await raw.until(lambda: len(raw.received) >= begin + size + 2)
        data, raw.received = raw.received[begin : begin + size], raw.received[begin + size + 2 :]
        if not size:
            raise EOFError
        return data


@contextlib.asynccontextmanager
async def event_source(
    client: Client, *headers: str, path: str = "/events", **query: Any
) -> AsyncIterator[EventSource]:
    """An open stream of Server-Sent Events."""
    raw = await connect(client)
    target = PREFIX + path + (f"?{urlencode(query)}" if query else "")
    raw.send(request("GET", target, f"Authorization: Bearer {client.access_token}", *headers))
    try:
        yield EventSource(raw, await raw.read_head())
    finally:
        raw.close()
        await raw.closed()


@attrs.define
class Socket:
    """A client of a WebSocket, after the handshake."""

    raw: RawClient
    head: Reply
    connection: Connection = attrs.field(factory=lambda: Connection(ConnectionType.CLIENT))
    pings: int = 0
    answers_pings: bool = True
    _events: list[Event] = attrs.field(factory=list)

    def send(self, message: Any) -> None:
        """Send JSON, or text as it is."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.event(TextMessage(text))

    def event(self, event: Event) -> None:
        self.raw.send(bytes(self.connection.send(event)))

    async def received(self) -> Event:
        """The next event; pings are answered."""
        while True:
            while not self._events:
                await self.raw.until(lambda: self.raw.received)
                data, self.raw.received = self.raw.received, b""
                self.connection.receive_data(data)
                self._events += self.connection.events()
            event = self._events.pop(0)
            if not isinstance(event, Ping):
                return event
            self.pings += 1
            if self.answers_pings:
                self.event(Pong(event.payload))

    async def message(self) -> Any:
        """The next message, decoded."""
        text = ""
        while True:
            event = await self.received()
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                return json.loads(text)

    async def rooms(self) -> Any:
        """The next answer that is about rooms."""
        while "rooms" not in (answer := await self.message()):
            pass
        return answer

    async def goodbye(self) -> tuple[int, str | None]:
        """The code and reason with which the server closes, which must come next."""
        event = await self.received()
        assert isinstance(event, CloseConnection), event
        await self.raw.closed()
        return int(event.code), event.reason


@contextlib.asynccontextmanager
async def web_socket(
    client: Client, *headers: str, opening: Any = None, **query: Any
) -> AsyncIterator[Socket]:
    """An open WebSocket; `opening` is its first message, if not None."""
    raw = await connect(client)
    target = f"{PREFIX}/socket" + (f"?{urlencode(query)}" if query else "")
    raw.send(request("GET", target, *HANDSHAKE, *headers))
    try:
        socket = Socket(raw, await raw.read_head())
        if opening is not None:
            socket.send(opening)
        yield socket
    finally:
        raw.close()
        await raw.closed()
