"""Several real servers in one process, which speak to each other over TLS on this machine.

Each has a name (`localhost:PORT`), a signing key, a database and a folder of its own, and trusts the certificate
authority of the tests. Links between them can be cut and mended, and servers stopped and started again.
"""

import hashlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.task import deferLater

from homeserver.config.sections import Federation, Listener, Tls
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import SigningKey
from homeserver.runtime.clock import Clock
from tests.api.server import Client, TestServer, running_server
from tests.federation.certificates import Authority
from tests.federation.network import Network
from tests.openapi import Specification

PATIENCE_S = 20.0
"""How long `until` waits."""

STEP_S = 0.01


@attrs.define
class FederatedServer:
    """One server of several: `start` it, `stop` it, as often as wanted."""

    server_name: ServerName
    key: SigningKey
    port: int
    network: Network
    _database_url: str
    _folder: Path
    _specification: Specification | None
    _options: dict[str, Any]
    _clock: Clock | None = None
    _running: TestServer | None = None
    _stack: AsyncExitStack | None = None

    @property
    def running(self) -> TestServer:
        """The server as other tests know it."""
        assert self._running is not None, "the server has been stopped"
        return self._running

    async def start(self) -> None:
        """Start it, with what its database holds."""
        assert self._stack is None, "it runs already"
        self._stack = AsyncExitStack()
        self._running = await self._stack.enter_async_context(
            running_server(
                self._database_url,
                self._folder,
                self._specification,
                clock=self._clock,
                key=self.key,
                network=self.network.as_reactor,
                server_name=self.server_name,
                # The first is for the clients.
                listeners=(Listener(port=0), Listener(port=self.port, tls=True)),
                **self._options,
            )
        )

    async def stop(self) -> None:
        """Stop it; its data stay."""
        if self._stack is not None:
            stack, self._stack, self._running = self._stack, None, None
            await stack.aclose()

    async def user(self, localpart: str) -> Client:
        """A new user with a device."""
        return await self.running.user(localpart)

    def reconnect(self, client: Client) -> None:
        """Point a client at the server that has been started again."""
        client.base_url = self.running.base_url
        client.pool = self.running.pool


@attrs.frozen
class Servers:
    """Makes servers of one test; they end with it."""

    authority: Authority
    folder: Path
    new_database: Callable[[Path], str]
    specification: Specification | None
    made: list[FederatedServer] = attrs.field(factory=list)

    async def start(self, *, clock: Clock | None = None, **options: Any) -> FederatedServer:
        """One more server. `options` replace sections of its configuration."""
        number = len(self.made) + 1
        folder = self.new_folder(f"server{number}")
        port = free_port()
        certificate, private_key = self.authority.certify(folder)
        federation = Federation(allow_private_addresses=True, trusted_ca_file=self.authority.file)
        made = FederatedServer(
            ServerName(f"localhost:{port}"),
            signing_key(f"server{number}"),
            port,
            Network(),
            self.new_database(folder),
            folder,
            self.specification,
            {
                "tls": Tls(certificate=certificate, private_key=private_key),
                "federation": federation,
                **options,
            },
            clock,
        )
        self.made.append(made)
        await made.start()
        return made

    def new_folder(self, name: str) -> Path:
        """An empty folder."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    async def stop(self) -> None:
        """Stop all that run."""
        for made in self.made:
            await made.stop()


def cut(one: FederatedServer, other: FederatedServer) -> None:
    """Nothing passes between the two any more."""
    one.network.cut(other.port)
    other.network.cut(one.port)


def mend(one: FederatedServer, other: FederatedServer) -> None:
    """The two can reach each other again."""
    one.network.mend(other.port)
    other.network.mend(one.port)


def signing_key(name: str, *, seed: str | None = None) -> SigningKey:
    """The key `ed25519:<name>`, always the same for the same seed, which is the name unless another is given."""
    return SigningKey.generate(name, seed=hashlib.sha256(f"the key of {seed or name}".encode()).digest())


def free_port() -> int:
    """A port on which nothing listens: a server's name holds its port, so that must be known before it starts.

    Not one of those that connections of this machine begin at, and in another part of the others for each process of
    the tests: nobody takes it in between.
    """
    for port in itertools.islice(_PORTS, 2_000):
        with socket.socket() as bound, suppress(OSError):
            bound.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports are taken")


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST_PORT = 11_000 + 2_000 * (_WORKER % 10)
_PORTS = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + 2_000))


async def until(condition: Callable[[], Awaitable[Any]], *, what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until `condition` gives something true, which is the result; what goes on between servers takes its time."""
    deadline = reactor.seconds() + patience_s
    while True:
        found = await condition()
        if found:
            return found
        assert reactor.seconds() < deadline, f"waited in vain: {what}"
        await deferLater(reactor, STEP_S)


@asynccontextmanager
async def servers_in(
    folder: Path, new_database: Callable[[Path], str], specification: Specification | None
) -> AsyncIterator[Servers]:
    """Room for servers."""
    servers = Servers(Authority.make(folder), folder, new_database, specification)
    try:
        yield servers
    finally:
        await servers.stop()
