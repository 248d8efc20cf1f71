"""Element X, but for what is on the screen: matrix-sdk and matrix-sdk-ui 0.18, the crates that the app is built on.

`element_x/` plays what its users do: lists of rooms, conversations, devices, verification, recovery, notifications,
spaces, moderation, upgrades, calls. To build it takes Rust 1.95 and some ten minutes, so it is for a test by hand:

    HOMESERVER_TEST_ELEMENT_X=1 HOMESERVER_TEST_PATIENCE=1800 scripts/test tests/clients/test_rust_sdk.py -s
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.federation.harness import free_port
from tests.openapi import Specification
from tests.processes import ServerProcess, processes

WANTED = "HOMESERVER_TEST_ELEMENT_X"
REACTOR: Any = reactor
HERE = Path(__file__).parent / "element_x"


@pytest.mark.skipif(WANTED not in os.environ, reason=f"{WANTED} is not set")
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_element_x(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    """All of it comes to its end, and no message stays undecryptable."""
    port = free_port()
    options: dict[str, Any] = {
        "server_name": "localhost",
        "listeners": [{"bind": "127.0.0.1", "port": port, "tls": False}],
        "public_base_url": f"http://127.0.0.1:{port}",
        "rtc": {"transports": [{"type": "livekit", "livekit_service_url": "https://livekit.example.org"}]},
    }
    async with processes(tmp_path, database_url, specification, "homeserver", **options) as (server,):
        said = await deferToThread(play, server)
    assert said[-1] == "undecryptable messages: 0", said


def play(server: ServerProcess) -> list[str]:
    """What the program says; it is built first. When it says so, the server is started anew."""
    subprocess.run(["cargo", "build", "--locked", "--quiet"], cwd=HERE, check=True)
    program = os.environ.get("CARGO_TARGET_DIR", str(HERE / "target")) + "/debug/element-x"
    said: list[str] = []
    with subprocess.Popen(
        [program, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="")
            said.append(line.rstrip())
            if said[-1] == "RESTART":
                blockingCallFromThread(REACTOR, restart, server)
                running.stdin.write("done\n")
                running.stdin.flush()
    assert running.returncode == 0, said[-10:]
    return said


def restart(server: ServerProcess) -> Any:
    """Stop it, and start it again with what it had."""

    async def done() -> None:
        await server.stop()
        await server.start()

    return Deferred.fromCoroutine(done())
