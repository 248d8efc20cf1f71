"""Fixtures for tests of the client-server API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.room_reading_harness import Reading, serving_rooms
from tests.openapi import Specification


@pytest.fixture
async def reading(tmp_path: Path, specification: Specification | None) -> AsyncIterator[Reading]:
    """The endpoints that read rooms."""
    async with serving_rooms(tmp_path, specification) as served:
        yield served
