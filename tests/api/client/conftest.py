"""Fixtures for tests of the client-server API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.user_data_harness import Api, serving_user_data


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """The endpoints of what users keep and signal."""
    async with serving_user_data(tmp_path) as served:
        yield served
