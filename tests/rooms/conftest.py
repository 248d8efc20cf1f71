"""Fixtures for tests of `rooms`: the databases of the tests of `storage`, and real ones with their threads."""

from collections.abc import AsyncIterator

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from homeserver.database.database import Database
from homeserver.database.drivers import Location
from tests.services.conftest import clock
from tests.storage.conftest import store

__all__ = ["clock", "database", "store"]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    made = Database(
        Location.parse(database_url),
        reactor,  # type: ignore[arg-type]  # zope's reactor
        on_commit=lambda _position, _topics: None,
    )
    made.start()
    yield made
    await deferToThread(made.stop)
