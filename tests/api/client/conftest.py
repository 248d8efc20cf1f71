"""Fixtures for tests of the client-server API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.client.mail_harness import Mailing, serving_mail
from tests.api.client.oauth_harness import OAuthServer, serving_oauth
from tests.api.room_reading_harness import Reading, serving_rooms
from tests.openapi import Specification


@pytest.fixture
async def reading(database_url: str, specification: Specification | None) -> AsyncIterator[Reading]:
    """The endpoints that read rooms."""
    async with serving_rooms(database_url, specification) as served:
        yield served


@pytest.fixture
async def mailing(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Mailing]:
    """A server that sends mail."""
    async with serving_mail(database_url, tmp_path, specification) as served:
        yield served


@pytest.fixture
async def oauth(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[OAuthServer]:
    """A server with the OAuth 2.0 API, and with alice and bob."""
    async with serving_oauth(database_url, tmp_path, specification) as served:
        await served.server.user("alice")
        await served.server.user("bob")
        yield served
