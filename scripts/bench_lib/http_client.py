"""A small HTTP/1.1 client straight on asyncio's protocols.

The client shares the machine with the server it loads, so it is built to cost little: a request is one piece
of `bytes`, a response is found by searching for the header's end, and nothing is decoded that nobody reads.
One connection carries one request at a time and is kept open.
"""

import abc
import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import quote

Json = dict[str, object]
Item = TypeVar("Item")
HOST = "127.0.0.1"
REQUEST_TIMEOUT_S = 120.0


class RequestError(Exception):
    """The server answered with an error, or not at all."""


@dataclass(slots=True, frozen=True)
class Response:
    """A whole answer; `body` is decoded from chunks, but not from JSON."""

    status: int
    body: bytes


def path_of(*parts: str) -> str:
    """Join path segments, each of them percent-encoded."""
    return "/".join(["", *(quote(part, safe="!:@$") for part in parts)])


def encode_request(method: str, target: str, token: str | None = None, body: bytes | None = None) -> bytes:
    """Build the bytes of a request; `target` is the path with its query, ready to send."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n"
    if token is not None:
        head += f"Authorization: Bearer {token}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode("ascii") + b"\r\n" + (body or b"")


class ResponseReader:
    """Collects the bytes of one response after the other."""

    __slots__ = ("_body_start", "_chunked", "_pieces", "_received", "_status", "_tail", "_whole")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pieces: list[bytes] = []
        self._received = 0
        self._tail = b""
        self._status = 0
        self._body_start = 0
        self._whole = 0
        self._chunked = False

    def feed(self, data: bytes) -> Response | None:
        """Take what has arrived; give the response once it is whole."""
        self._pieces.append(data)
        self._received += len(data)
        if not self._status and not self._read_head():
            return None
        if self._chunked:
            self._tail = (self._tail + data)[-5:]
            body = self._joined_chunks() if self._tail == b"0\r\n\r\n" else None
        else:
            body = b"".join(self._pieces)[self._body_start :] if self._received >= self._whole else None
        if body is None:
            return None
        response = Response(self._status, body)
        self._reset()
        return response

    def _read_head(self) -> bool:
        whole = b"".join(self._pieces)
        end = whole.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = whole[:end].lower()
        self._pieces = [whole]
        self._status = int(head[9:12])
        self._body_start = end + 4
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        length = 0
        start = head.find(b"\r\ncontent-length:")
        if start >= 0:
            line_end = head.find(b"\r\n", start + 2)
            length = int(head[start + 17 : line_end if line_end >= 0 else end])
        elif not self._chunked and self._status not in (204, 304):
            raise RequestError("a response has neither a length nor chunks")
        self._whole = self._body_start + length
        return True

    def _joined_chunks(self) -> bytes | None:
        """Join the chunks, or give `None` when the last one is not there yet."""
        data = b"".join(self._pieces)
        self._pieces = [data]
        at = self._body_start
        parts: list[bytes] = []
        while True:
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                return None
            size = int(data[at:line_end].split(b";")[0], 16)
            at = line_end + 2
            if size == 0:
                return b"".join(parts)
            if at + size + 2 > len(data):
                return None
            parts.append(data[at : at + size])
            at += size + 2


class Stream(asyncio.Protocol, abc.ABC):
    """A connection that hands each response to `on_response`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        try:
            response = self._reader.feed(data)
        except (RequestError, ValueError) as error:
            self.close()
            self.on_lost(RequestError(f"not a readable response: {error}"))
            return
        if response is not None:
            self.on_response(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        self.on_lost(RequestError(f"the server closed the connection ({exc or 'no reason given'})"))

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    @abc.abstractmethod
    def on_response(self, response: Response) -> None:
        """A response has come."""

    @abc.abstractmethod
    def on_lost(self, error: RequestError) -> None:
        """There will be no response."""


class _Awaiting(Stream):
    """A connection whose response is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[Response] | None = None

    def on_response(self, response: Response) -> None:
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_result(response)

    def on_lost(self, error: RequestError) -> None:
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def give_up(self) -> None:
        self.on_lost(RequestError(f"no answer within {REQUEST_TIMEOUT_S:.0f} s"))
        self.close()


class Connection:
    """One kept-open connection to a port of this machine; it is opened again when the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: _Awaiting | None = None

    async def exchange(self, request: bytes) -> Response:
        """Send a prepared request and await its response, whatever the status."""
        loop = asyncio.get_running_loop()
        stream = self._stream
        if stream is None or not stream.is_open:
            _, stream = await loop.create_connection(_Awaiting, HOST, self._port)
            self._stream = stream
        answer: asyncio.Future[Response] = loop.create_future()
        stream.answer = answer
        stream.write(request)
        timeout = loop.call_later(REQUEST_TIMEOUT_S, stream.give_up)
        try:
            return await answer
        finally:
            timeout.cancel()

    async def send(
        self, method: str, target: str, token: str | None = None, body: Json | None = None
    ) -> bytes:
        """Send a request and give the body of its response.

        Errors: RequestError on any status but 200.
        """
        encoded = None if body is None else json.dumps(body).encode()
        response = await self.exchange(encode_request(method, target, token, encoded))
        if response.status != 200:
            said = response.body[:300].decode(errors="replace")
            raise RequestError(f"{method} {target[:200]}: status {response.status}: {said}")
        return response.body

    async def call(
        self, method: str, target: str, token: str | None = None, body: Json | None = None
    ) -> Json:
        """Like `send`, with the body read as a JSON object."""
        return cast("Json", json.loads(await self.send(method, target, token, body)))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


async def for_each(
    port: int,
    items: Sequence[Item],
    work: Callable[[Connection, Item], Awaitable[None]],
    *,
    connections: int = 8,
) -> None:
    """Do `work` once per item, in order of the items, over a few connections at a time."""
    waiting = iter(items)

    async def worker() -> None:
        connection = Connection(port)
        try:
            for item in waiting:
                await work(connection, item)
        finally:
            connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(connections, len(items))):
            tasks.create_task(worker())
