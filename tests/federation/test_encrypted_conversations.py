"""End-to-end encryption between users of two servers, with clients of the field."""

from pathlib import Path

import pytest

from tests.clients.nio_stories import converse
from tests.clients.test_js_sdk import play
from tests.federation.conftest import Two


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
async def test_matrix_nio(two: Two, tmp_path: Path) -> None:
    await converse(two.one.running.base_url, two.other.running.base_url, tmp_path)


async def test_matrix_js_sdk(two: Two) -> None:
    """The whole story of tests/clients/js_sdk/scenarios/encryption.mjs."""
    printed = await play("encryption", two.one.running.base_url, two.other.running.base_url)
    # The SDK may complain of what its end has broken off.
    assert "undecryptable messages: 0\n" in printed
