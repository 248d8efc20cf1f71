"""Fixtures for tests of `clients`: an authority, and servers on loopback."""

from collections.abc import AsyncIterator

import pytest

from tests.federation.certificates import Authority
from tests.outbound.scripted import Caller, ScriptedServer, caller, certify, ok, scripted_server
from tests.services.conftest import MovableClock


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[ScriptedServer]:
    """Has a certificate for localhost."""
    async with scripted_server(certify(authority, "localhost"), lambda _: ok({"ok": True})) as running:
        yield running


@pytest.fixture
async def remote(authority: Authority, clock: MovableClock) -> AsyncIterator[Caller]:
    """The calling side."""
    made = caller(authority, clock=clock)
    yield made
    made.transport.close()
