"""Client-server API, `registration_tokens.yaml`, and the stage that asks for such a token."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.config.sections import Registration
from homeserver.storage import registration_tokens
from tests.api.server import TestServer, path_of, running_server
from tests.databases import Databases
from tests.openapi import Specification

VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"


@pytest.fixture
async def asking(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    policy = Registration(enabled=True, requires_token=True)
    async with running_server(database_url, tmp_path, specification, registration=policy) as server:
        yield server


async def test_a_token_makes_an_account(asking: TestServer) -> None:
    client = asking.anonymous()
    await asking.server.database.write(registration_tokens.add, "fBVFdqVE", uses_allowed=1, expires_ts=None)
    assert (await client.get(VALIDITY, token="fBVFdqVE")).ok() == {"valid": True}
    assert (await client.get(VALIDITY, token="other")).ok() == {"valid": False}
    body: dict[str, object] = {"username": "alice", "password": "a password"}
    asked = await client.post(path_of("register"), body)
    assert asked.json["flows"] == [{"stages": ["m.login.registration_token"]}]
    auth = {"type": "m.login.registration_token", "session": asked.json["session"], "token": "other"}
    (await client.post(path_of("register"), {**body, "auth": auth})).error(401, "M_FORBIDDEN")
    (await client.post(path_of("register"), {**body, "auth": {**auth, "token": "fBVFdqVE"}})).ok()
    assert (await client.get(VALIDITY, token="fBVFdqVE")).ok() == {"valid": False}


async def test_what_is_refused(asking: TestServer) -> None:
    (await asking.anonymous().get(VALIDITY)).error(400, "M_MISSING_PARAM")


async def test_closed_registration(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> None:
    url = databases.sqlite(tmp_path)
    async with running_server(url, tmp_path, specification, registration=Registration()) as server:
        (await server.anonymous().get(VALIDITY, token="x")).error(403, "M_FORBIDDEN")
