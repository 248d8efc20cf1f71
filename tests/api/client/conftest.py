"""Fixtures for tests of the client-server API."""

from collections.abc import AsyncIterator

import pytest

from tests.api.room_reading_harness import Reading, serving_rooms
from tests.openapi import Specification


@pytest.fixture
async def reading(database_url: str, specification: Specification | None) -> AsyncIterator[Reading]:
    """The endpoints that read rooms."""
    async with serving_rooms(database_url, specification) as served:
        yield served
