"""Conversations of clients that are built on matrix-js-sdk, as Element Web is, under Node.

What they do and assert stands in tests/clients/js_sdk/scenarios, one file a scenario.
"""

from functools import partial
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from typing import Any, Final

import pytest
from twisted.internet.threads import deferToThread

from homeserver.config.sections import Listener, Rtc, RtcTransport
from tests.api.server import TestServer, running_server
from tests.appservices import registration, registration_file
from tests.federation.harness import free_port
from tests.openapi import Specification

HERE: Final = Path(__file__).with_name("js_sdk")
NODES: Final = [HERE / "node_modules" / f"node-linux-{each}" / "bin" / "node" for each in ("x64", "arm64")]

PATIENCE_S: Final = 50


def the_node() -> str:
    """Path of the Node that stands beside the SDK."""
    found = next((str(each) for each in NODES if each.exists()), None)
    if found is None:
        pytest.skip("matrix-js-sdk is not installed: scripts/test does that where there is npm")
    return found


OAUTH: Final = "oauth"
"""Its server must know where it is reached."""

BRIDGE: Final = "bridge"
"""Its server must know the bridge."""

CALLS: Final = "calls"
"""Its server must name what carries calls."""

SCENARIOS: Final = sorted(path.stem for path in (HERE / "scenarios").glob("*.mjs"))


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each not in {OAUTH, BRIDGE, CALLS}])
async def test_js_sdk(server: TestServer, scenario: str) -> None:
    """A scenario of the SDK comes to its end."""
    await play(scenario, server.base_url)


async def test_oauth(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    """The one that logs in by OAuth 2.0."""
    the_node()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options: dict[str, Any] = {"listeners": (Listener(port=port),), "public_base_url": url}
    async with running_server(database_url, tmp_path, specification, **options):
        await play(OAUTH, url)


async def test_bridge(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    """The one in which an application service speaks for its users."""
    the_node()
    files = (registration_file(tmp_path, registration()),)
    async with running_server(database_url, tmp_path, specification, appservices=files) as server:
        assert "undecryptable messages: 0" in await play(BRIDGE, server.base_url)


async def test_calls(database_url: str, tmp_path: Path, specification: Specification | None) -> None:
    """The one in which two are in a call, by the parts of the SDK that Element Call is built on."""
    the_node()
    rtc = Rtc(transports=(RtcTransport(livekit_service_url="https://livekit.example.org"),))
    async with running_server(database_url, tmp_path, specification, rtc=rtc) as server:
        await play(CALLS, server.base_url)


async def play(scenario: str, *urls: str) -> str:
    """Have a scenario of the SDK come to its end, on one server or on two; gives what it has printed."""
    command = [the_node(), str(HERE / "run.mjs"), scenario, *urls]
    done = await deferToThread(
        partial(run, command, stdout=PIPE, stderr=STDOUT, timeout=PATIENCE_S, text=True, check=False)
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
