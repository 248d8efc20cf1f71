"""Real server processes for tests: started, killed and started again, and talked to over HTTP."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.web.client import HTTPConnectionPool

from homeserver.app.build import Server
from homeserver.runtime.clock import SystemClock
from tests.api.server import SERVER_NAME, SHARED_SECRET, Client, TestServer
from tests.openapi import Specification

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60


@attrs.define(eq=False)
class ServerProcess:
    """`homeserver run`. After `kill` or `stop` it may be started again, with the same configuration."""

    config: Path
    specification: Specification | None
    url: str = ""
    process: "subprocess.Popen[str] | None" = None
    log: list[dict[str, Any]] = attrs.field(factory=list)
    _reader: threading.Thread | None = None
    _pools: list[HTTPConnectionPool] = attrs.field(factory=list)

    async def start(self) -> None:
        """Returns when the server accepts requests."""
        await deferToThread(self._start)

    async def kill(self) -> None:
        """SIGKILL: the process gets no chance to put anything in order."""
        assert self.process is not None
        self.process.kill()
        await self._gone()

    async def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self._gone()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and do not wait."""
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What it logged as warnings or errors."""
        return [record for record in self.log if record["level"] not in ("info", "debug")]

    def door(self) -> TestServer:
        """The means to talk to it, with connections of its own."""
        pool = HTTPConnectionPool(reactor, persistent=True)
        pool.maxPersistentPerHost = 100
        pool.retryAutomatically = False
        self._pools.append(pool)
        # What runs is in another process.
        return TestServer(cast("Server", None), self.url, self.specification, pool, SystemClock())

    def client(self, user: Client) -> Client:
        """The same user and device, at this server."""
        door = self.door()
        return attrs.evolve(user, base_url=door.base_url, pool=door.pool)

    async def close(self) -> None:
        """End it, one way or another."""
        for pool in self._pools:
            await cast("Deferred[None]", pool.closeCachedConnections())
        if self.is_running:
            await self.kill()

    async def _gone(self) -> int:
        assert self.process is not None
        code = await deferToThread(self.process.wait, PATIENCE_S)
        if self._reader is not None:
            await deferToThread(self._reader.join)
        return code

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "homeserver", "run", "--config", str(self.config)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self.process, listening))
        self._reader.start()
        assert listening.wait(PATIENCE_S), self.log
        assert self.is_running, self.log

    def _read(self, process: "subprocess.Popen[str]", listening: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                try:
                    record = json.loads(line)
                except ValueError:
                    record = {"level": "error", "event": line}
                self.log.append(record)
                if record["event"] == "listening" and record["url"].startswith("http:"):
                    # Another one, with TLS, is for other servers.
                    self.url = record["url"]
                    listening.set()
        listening.set()  # it has ended before


def write_config(folder: Path, database: str, name: str = "homeserver", **options: object) -> Path:
    """A configuration file for a server on a free port; `options` replace its keys."""
    path = folder / f"{name}.yaml"
    document = {
        "server_name": SERVER_NAME,
        "data_dir": str(folder / "data"),
        "database": database,
        "signing_key_path": str(folder / "signing.key"),
        "listeners": [{"bind": "127.0.0.1", "port": 0, "tls": False}],
        "registration": {"enabled": True, "shared_secret": SHARED_SECRET},
        "rate_limits": {"enabled": False},
        "log": {"format": "json"},
        **options,
    }
    path.write_text(json.dumps(document))
    key = folder / "signing.key"
    if not key.exists():
        key.write_text("ed25519 test dGhlIHNlZWQgb2YgdGhlIGtleSBvZiB0aGUgdGVzdHM\n")
        key.chmod(0o600)
    return path


@asynccontextmanager
async def processes(
    folder: Path, database: str, specification: Specification | None, *names: str, **options: object
) -> AsyncIterator[list[ServerProcess]]:
    """Running servers on one database, one for each name."""
    made = [ServerProcess(write_config(folder, database, name, **options), specification) for name in names]
    try:
        await gatherResults([Deferred.fromCoroutine(cast("Any", each.start())) for each in made])
        yield made
    finally:
        for each in made:
            await each.close()
