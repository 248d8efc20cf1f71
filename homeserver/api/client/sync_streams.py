"""`/sync` as a stream, by Server-Sent Events and by a WebSocket; `docs/streaming.md` says what clients have to know."""

import importlib
import random
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec
from twisted.internet.interfaces import IReactorTime

from homeserver.api.waiting import Authenticator
from homeserver.core.errors import BadJson, MatrixError, MissingToken, Unknown
from homeserver.core.json import JsonObject, decode_object, encode
from homeserver.core.requester import Requester
from homeserver.core.tokens import SyncToken
from homeserver.http.application import access_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.errors import error_document, status_of
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.http.upgrades import Close, upgrade
from homeserver.services.sync.filters import SyncFilters
from homeserver.services.sync.request import SyncAnswer
from homeserver.services.sync.streams import Stream, Streams, Wanted, or_unavailable

if TYPE_CHECKING:
    from homeserver.http.websocket import WebSocket

FEATURE: Final = "io.homeserver.streaming_sync"
"""The prefix of the endpoints, and the unstable feature by which they are announced."""

PREFIX: Final = f"/_matrix/client/unstable/{FEATURE}"

PATIENCE_S: Final = 10.0
"""How long a WebSocket may take to say what it wants."""

RETRY_MS: Final = (1_000, 3_000)
"""After how long a client comes back; a time between these two."""

T = TypeVar("T")

_EVENT_STREAM: Final = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-store"),
    # nginx would else keep what is short until there is more of it.
    (b"X-Accel-Buffering", b"no"),
)


class StreamQuery(msgspec.Struct):
    """What a client wants to be sent, as by the parameters of `/sync`."""

    filter: str | None = None
    since: str | None = None
    full_state: bool = False
    set_presence: Literal["offline", "online", "unavailable"] = "online"
    use_state_after: bool = False


class Opening(msgspec.Struct):
    """The first message of a WebSocket; the token may have come with the request instead."""

    access_token: str | None = None
    filter: str | JsonObject | None = None
    since: str | None = None
    full_state: bool = False
    set_presence: Literal["offline", "online", "unavailable"] = "online"
    use_state_after: bool = False


class Remark(msgspec.Struct):
    """A later message of a WebSocket."""

    set_presence: Literal["offline", "online", "unavailable"] | None = None
    received: str | None = None


class SyncStreams(msgspec.Struct, frozen=True):
    """The endpoints of streams."""

    streams: Streams
    filters: SyncFilters
    authenticator: Authenticator

    @endpoint("GET", f"{PREFIX}/events", auth=Auth.GUEST_OK)
    async def stream_sync(self, requester: Requester, request: Request, query: StreamQuery) -> Response:
        """Server-Sent Events; `Last-Event-ID` goes before `since`."""
        last_event_id = request.headers.get(b"last-event-id", b"").decode("latin-1")
        since = last_event_id or query.since
        opening = Opening(
            None, query.filter, since, query.full_state, query.set_presence, query.use_state_after
        )
        stream = await self._stream(requester, request, opening, access_token(request) or "")
        return Response(200, _EVENT_STREAM, _events(stream))

    @endpoint("GET", f"{PREFIX}/socket", auth=Auth.OPTIONAL)
    async def open_sync_socket(self, requester: Requester | None, request: Request) -> Response:
        """A WebSocket."""
        socket = _new_websocket(self.streams.reactor)
        return upgrade(request, socket.receive, self._frames(socket, requester, request))

    async def _stream(self, requester: Requester, request: Request, opening: Opening, token: str) -> Stream:
        """Errors: InvalidParam, BadJson, NotJson for what is wanted."""
        chosen = opening.filter if isinstance(opening.filter, str | None) else encode(opening.filter).decode()
        wanted = Wanted(
            await self.filters.of(requester.user_id, chosen),
            SyncToken.parse(opening.since) if opening.since else None,
            opening.full_state,
            opening.use_state_after,
            opening.set_presence,
        )
        authenticator = self.authenticator
        return Stream(self.streams, requester, lambda: authenticator.authenticate(token, request), wanted)

    async def _frames(
        self, socket: "WebSocket", requester: Requester | None, request: Request
    ) -> AsyncGenerator[bytes, None]:
        """All that the client of a WebSocket is sent."""
        try:
            async for frame in socket.until_message(within_s=PATIENCE_S):
                yield frame
            stream = await or_unavailable(self._begin(socket, requester, request))
            if stream is not None:
                socket.tell(stream.interrupt)
                with stream:
                    async for frame in _conversation(socket, stream):
                        yield frame
            yield socket.replies() if socket.is_over else socket.close(Close.GOING_AWAY)
        except MatrixError as error:
            if not socket.is_over:
                yield socket.text(encode(error_document(error)))
            yield socket.close(4000 + status_of(error), error.errcode)

    async def _begin(
        self, socket: "WebSocket", requester: Requester | None, request: Request
    ) -> Stream | None:
        """What the first message asks for; None if the client has gone. Errors: as `_stream`; MissingToken; Unknown."""
        text = socket.received()
        if text is None:
            if socket.is_over:
                return None
            raise Unknown("nothing was asked for", status=408)
        opening = _read(text, Opening)
        token = opening.access_token or access_token(request)
        if token is None:
            raise MissingToken
        if requester is None or opening.access_token is not None:
            requester = await self.authenticator.authenticate(token, request)
            request.requester = requester
        return await self._stream(requester, request, opening, token)


def _new_websocket(timers: IReactorTime) -> "WebSocket":
    """What knows the frames of WebSockets is loaded with the first."""
    socket: WebSocket = importlib.import_module("homeserver.http.websocket").WebSocket(timers)
    return socket


async def _conversation(socket: "WebSocket", stream: Stream) -> AsyncGenerator[bytes, None]:
    """What is new, and what the client is owed, until one of the two sides has enough."""
    sent = stream.since
    while not socket.is_over:
        answer = await stream.next()
        yield socket.replies()
        while (text := socket.received()) is not None:
            _heed(stream, _read(text, Remark))
        if answer is None or socket.is_over:
            return
        if stream.is_silent:
            if not socket.is_heard:
                return
            socket.is_heard = False
            yield socket.ping()
        if not answer.is_empty or answer.token != sent:
            yield socket.text(answer.body)
            sent = answer.token


def _heed(stream: Stream, remark: Remark) -> None:
    """Errors: InvalidParam."""
    if remark.set_presence is not None:
        stream.wanted = msgspec.structs.replace(stream.wanted, set_presence=remark.set_presence)
    if remark.received is not None:
        stream.acknowledge(SyncToken.parse(remark.received))


async def _events(stream: Stream) -> AsyncGenerator[bytes, None]:
    """What is new, as Server-Sent Events; an ID without data moves the point from which the client goes on."""
    # All clients of a server that stops are not to come back in the same moment.
    yield b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311 - no secret
    sent = stream.since
    try:
        with stream:
            while (answer := await stream.next()) is not None:
                if not answer.is_empty:
                    yield b"id: %b\nevent: sync\ndata: %b\n\n" % (_id(answer), _in_lines(answer.body))
                elif answer.token != sent:
                    yield b"id: %b\n\n" % _id(answer)
                else:
                    yield b":\n\n"
                sent = answer.token
    except MatrixError as error:
        yield b"event: error\ndata: %b\n\n" % encode(error_document(error))


def _id(answer: SyncAnswer) -> bytes:
    return str(answer.token).encode()


def _in_lines(body: bytes) -> bytes:
    """JSON as the data of an event, which cannot hold line breaks as they are."""
    if b"\r" in body:
        body = body.replace(b"\r", b" ")
    return body.replace(b"\n", b"\ndata: ") if b"\n" in body else body


def _read(text: bytes, wanted: type[T]) -> T:
    """Errors: NotJson, BadJson."""
    try:
        return msgspec.convert(decode_object(text), wanted)
    except msgspec.ValidationError as error:
        raise BadJson(str(error)) from None
