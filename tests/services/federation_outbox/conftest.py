"""Fixtures for tests of the outbox: a database of each kind, other servers that behave as told, and moved time."""

from collections.abc import AsyncIterator

import pytest

from tests.services.conftest import MovableClock
from tests.services.federation_outbox.scene import OutboxScene, opened_scene


@pytest.fixture
async def scene(database_url: str, clock: MovableClock) -> AsyncIterator[OutboxScene]:
    """A server whose outbox is running, without rooms."""
    async with opened_scene(database_url, clock) as made:
        yield made
