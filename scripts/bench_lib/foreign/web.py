"""HTTP over TLS, as far as one server of the benchmark speaks it to another."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench_lib.http_client import HOST, Response, ResponseReader

Responder = Callable[["Heard"], Awaitable[tuple[int, bytes]]]
LONGEST_HEAD = 64 * 1024


@dataclass(frozen=True)
class Heard:
    """A request that came to one of the ports; `target` is percent-encoded."""

    port: int
    method: str
    target: str
    body: bytes


async def listen(certificate: Path, private_key: Path, respond: Responder) -> int:
    """Open a port of the loopback interface; give its number."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private_key)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heard = await _read_request(reader, writer.get_extra_info("sockname")[1])
                status, body = await respond(heard)
                writer.write(
                    b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % (status, len(body))
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # The other side has closed the connection.
        finally:
            writer.close()

    server = await asyncio.start_server(talk, HOST, 0, ssl=context, limit=LONGEST_HEAD)
    port: int = server.sockets[0].getsockname()[1]
    _open.append(server)
    return port


_open: list[asyncio.Server] = []


async def _read_request(reader: asyncio.StreamReader, port: int) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    length = 0
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "transfer-encoding":
            raise OSError("chunked requests are not understood here")
    return Heard(port, method, target, await reader.readexactly(length) if length else b"")


class Line:
    """A kept-open connection to a server's federation port; one request at a time."""

    def __init__(self, port: int, authority: Path) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(authority))
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> Response:
        if self._ends is None:
            self._ends = await asyncio.open_connection(
                HOST, self._port, ssl=self._context, server_hostname="localhost"
            )
        reader, writer = self._ends
        writer.write(request)
        parts = ResponseReader()
        while True:
            data = await reader.read(256 * 1024)
            if not data:
                raise OSError("the server closed the connection")
            if (response := parts.feed(data)) is not None:
                return response

    def close(self) -> None:
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None
