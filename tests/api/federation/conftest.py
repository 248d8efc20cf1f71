"""Fixtures for tests of the server-server API: a server of ours that listens with TLS, and a foreign one that asks."""

import pytest

from homeserver.core.identifiers import UserID
from tests.api.federation.asking import Asking
from tests.federation.conftest import new_database, peer, servers
from tests.federation.harness import FederatedServer, Servers
from tests.federation.peer import Peer

__all__ = ["asking", "new_database", "one", "peer", "servers"]


@pytest.fixture
async def one(servers: Servers) -> FederatedServer:
    """A server of ours."""
    return await servers.start()


@pytest.fixture
def asking(one: FederatedServer, peer: Peer) -> Asking:
    """The foreign server asks ours, where `@owner` has rooms."""
    return Asking(one, peer, UserID(f"@owner:{one.server_name}"))
