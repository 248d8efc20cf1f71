"""Client-server API, `refresh.yaml`."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections import Bucket, RateLimits
from tests.api.server import PASSWORD, Client, TestServer, running_server
from tests.openapi import Specification

REFRESH = "/_matrix/client/v3/refresh"
WHOAMI = "/_matrix/client/v3/account/whoami"


async def login(server: TestServer) -> Any:
    body = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "refresh_token": True}
    return (await server.anonymous().post("/_matrix/client/v3/login", body)).ok()


async def refresh(server: TestServer, token: str) -> Any:
    return (await server.anonymous().post(REFRESH, {"refresh_token": token})).ok()


async def whoami(server: TestServer, token: str) -> int:
    return (await server.anonymous().request("GET", WHOAMI, token=token)).status


async def test_a_new_pair_replaces_the_old_when_it_is_used(server: TestServer, alice: Client) -> None:
    old = await login(server)
    assert old["expires_in_ms"] > 0
    new = await refresh(server, old["refresh_token"])
    assert new.keys() == {"access_token", "refresh_token", "expires_in_ms"}
    assert await whoami(server, old["access_token"]) == 200
    new = await refresh(server, old["refresh_token"])
    assert await whoami(server, new["access_token"]) == 200
    assert await whoami(server, old["access_token"]) == 401
    again = await server.anonymous().post(REFRESH, {"refresh_token": old["refresh_token"]})
    assert again.error(401, "M_UNKNOWN_TOKEN")["soft_logout"] is True
    await refresh(server, new["refresh_token"])


async def test_after_a_logout_there_is_nothing_to_refresh(server: TestServer, alice: Client) -> None:
    session = await login(server)
    client = server.anonymous()
    client.access_token = session["access_token"]
    (await client.post("/_matrix/client/v3/logout")).ok()
    answer = await server.anonymous().post(REFRESH, {"refresh_token": session["refresh_token"]})
    assert not answer.error(401, "M_UNKNOWN_TOKEN").get("soft_logout")


async def test_what_is_refused(server: TestServer) -> None:
    (await server.anonymous().post(REFRESH, {"refresh_token": "x"})).error(401, "M_UNKNOWN_TOKEN")
    (await server.anonymous().request("POST", REFRESH, {})).error(400, "M_BAD_JSON")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_is_behind_one_address_can_refresh_however_many_are(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """It takes nothing from those who type passwords there, and they take nothing from it."""
    limits = RateLimits(login=Bucket(per_second=0.001, burst=2))
    async with running_server(database_url, tmp_path, specification, rate_limits=limits) as server:
        await server.user("alice")
        session = await login(server)
        for _ in range(15):
            session = await refresh(server, session["refresh_token"])
        await login(server)
        body = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
        (await server.anonymous().post("/_matrix/client/v3/login", body)).error(429, "M_LIMIT_EXCEEDED")
        await refresh(server, session["refresh_token"])
