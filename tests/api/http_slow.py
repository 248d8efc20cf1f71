"""Endpoints that take their time, as a test wants it, and the limits under which they are served."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.limits import HttpLimits
from homeserver.http.request import Request
from homeserver.http.response import Response
from tests.api.http_harness import REACTOR, ServerUnderTest, serving

BIG = 8_000_000
"""More than the buffers of a connection over loopback take."""


@attrs.define
class Slow:
    """Endpoints that take their time, as the test wants it."""

    started: int = 0
    finished: int = 0
    disconnected: int = 0
    closed_streams: int = 0
    sent_parts: int = 0
    gate: "Deferred[None]" = attrs.field(factory=Deferred)

    @endpoint("GET", "/quick", auth=Auth.NONE)
    async def quick(self) -> dict[str, Any]:
        return {}

    @endpoint("POST", "/quick", auth=Auth.NONE)
    async def post(self, body: bytes) -> dict[str, Any]:
        return {"size": len(body)}

    @endpoint("GET", "/gated", auth=Auth.NONE)
    async def gated(self) -> dict[str, Any]:
        self.started += 1
        await self.gate
        self.finished += 1
        return {"gated": True}

    @endpoint("GET", "/poll", auth=Auth.NONE)
    async def poll(self, request: Request) -> dict[str, Any]:
        """A long poll: ends early if the client goes or the server closes."""
        self.started += 1
        done: Deferred[str] = Deferred()
        gone, closing = request.disconnected, request.closing
        gone.addCallbacks(lambda _: done.callback("gone"), lambda _: None)
        closing.addCallbacks(lambda _: done.callback("closing"), lambda _: None)
        why = await done
        gone.cancel()
        closing.cancel()
        self.disconnected += why == "gone"
        self.finished += 1
        return {"why": why}

    @endpoint("GET", "/big", auth=Auth.NONE)
    async def big(self) -> Response:
        return Response(200, (), b"x" * BIG)

    @endpoint("GET", "/stream/{parts}", auth=Auth.NONE)
    async def stream(self, parts: int) -> Response:
        return Response(200, ((b"Content-Type", b"text/plain"),), self._parts(parts, b"x" * 100_000))

    @endpoint("GET", "/sized/{promised}", auth=Auth.NONE)
    async def sized(self, promised: int) -> Response:
        return Response(200, ((b"Content-Length", b"%d" % promised),), self._parts(2, b"abc"))

    @endpoint("GET", "/events", auth=Auth.NONE)
    async def events(self) -> Response:
        return Response(200, (), self._events())

    @endpoint("GET", "/broken", auth=Auth.NONE)
    async def broken(self) -> Response:
        return Response(200, (), self._broken())

    async def _parts(self, count: int, part: bytes) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(count):
                self.sent_parts += 1
                yield part
                yield b""
        finally:
            await deferLater(REACTOR, 0)
            self.closed_streams += 1

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            self.started += 1
            await self.gate
            yield b"second"
        except CancelledError:
            self.disconnected += 1
            raise
        finally:
            self.closed_streams += 1

    async def _broken(self) -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise ZeroDivisionError


LIMITS = HttpLimits(
    head_ms=1_000, body_stall_ms=2_000, body_bytes_per_second=1_000, idle_ms=5_000, write_stall_ms=7_000
)


@contextlib.asynccontextmanager
async def slow_server(**kwargs: Any) -> AsyncGenerator[tuple[ServerUnderTest, Slow], None]:
    slow = Slow()
    async with serving(slow, limits=kwargs.pop("limits", LIMITS), **kwargs) as server:
        yield server, slow


def only(server: ServerUnderTest) -> Any:
    (connection,) = server.connections()
    return connection
