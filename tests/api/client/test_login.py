"""Client-server API, `login.yaml`."""

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from homeserver.config.sections import Bucket, RateLimits
from homeserver.services.passwords import ARGON2
from tests.api.server import PASSWORD, Client, TestServer, running_server
from tests.databases import Databases
from tests.openapi import Specification

LOGIN = "/_matrix/client/v3/login"


def by_password(user: str = "alice", password: str = PASSWORD, **more: object) -> dict[str, object]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        **more,
    }


async def test_the_kinds_of_login(server: TestServer) -> None:
    flows = (await server.anonymous().get(LOGIN)).ok()["flows"]
    assert flows == [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": True}]


@pytest.mark.parametrize("user", ["alice", "@alice:test.example", "@Alice:test.example"])
async def test_logging_in_by_name_or_user_id(server: TestServer, alice: Client, user: str) -> None:
    answer = (await server.anonymous().post(LOGIN, by_password(user))).ok()
    assert answer["user_id"] == "@alice:test.example"
    assert answer["home_server"] == "test.example"
    assert answer["device_id"] not in ("", alice.device_id)
    assert answer.keys() == {"user_id", "home_server", "device_id", "access_token"}
    whoami = await server.anonymous().request(
        "GET", "/_matrix/client/v3/account/whoami", token=answer["access_token"]
    )
    assert whoami.ok()["device_id"] == answer["device_id"]
    # The device that was there before is none of its business.
    (await alice.get("/_matrix/client/v3/account/whoami")).ok()


async def test_logging_in_in_the_old_way(server: TestServer, alice: Client) -> None:
    body = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    (await server.anonymous().post("/_matrix/client/r0/login", body)).ok()


async def test_a_device_id_is_kept(server: TestServer, alice: Client) -> None:
    body = by_password(device_id=alice.device_id, initial_device_display_name="Phone", refresh_token=False)
    answer = (await server.anonymous().post(LOGIN, body)).ok()
    assert answer["device_id"] == alice.device_id
    (await alice.get("/_matrix/client/v3/account/whoami")).error(401, "M_UNKNOWN_TOKEN")


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        (by_password(password="wrong"), 403, "M_FORBIDDEN"),
        (by_password("nobody"), 403, "M_FORBIDDEN"),
        (by_password("@alice:other.example"), 403, "M_FORBIDDEN"),
        ({**by_password(), "type": "m.login.unheard"}, 400, "M_UNKNOWN"),
        ({**by_password(), "password": None}, 400, "M_MISSING_PARAM"),
        ({**by_password(), "identifier": None}, 400, "M_MISSING_PARAM"),
        ({**by_password(), "identifier": {"type": "m.id.unheard"}}, 400, "M_INVALID_PARAM"),
        (
            {"type": "m.login.password", "medium": "email", "address": "a@b.c", "password": "p"},
            403,
            "M_FORBIDDEN",
        ),
        ({"type": "m.login.token", "token": "wrong"}, 403, "M_FORBIDDEN"),
        ({"type": "m.login.token"}, 400, "M_MISSING_PARAM"),
        ({"password": "p"}, 400, "M_BAD_JSON"),
        ({**by_password(), "password": 5}, 400, "M_BAD_JSON"),
        ({**by_password(), "device_id": "D" * 300}, 400, "M_INVALID_PARAM"),
        (b"{", 400, "M_NOT_JSON"),
    ],
)
async def test_what_is_refused(
    server: TestServer, alice: Client, body: Mapping[str, object] | bytes, status: int, errcode: str
) -> None:
    (await server.anonymous().request("POST", LOGIN, body)).error(status, errcode)


@pytest.fixture
async def guarded(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A server for which passwords are as much work as for a real one."""
    async with running_server(database_url, tmp_path, specification, hasher=ARGON2) as running:
        yield running


async def test_a_flood_of_logins_holds_nobody_else_up(guarded: TestServer) -> None:
    alice = await guarded.user("alice")
    flood = [Deferred.fromCoroutine(guarded.anonymous().post(LOGIN, by_password())) for _ in range(150)]
    longest_s, flood_began = 0.0, time.monotonic()
    while not all(each.called for each in flood):
        began = time.monotonic()
        (await alice.get("/_matrix/client/v3/account/whoami")).ok()
        longest_s = max(longest_s, time.monotonic() - began)
    flood_s = time.monotonic() - flood_began
    answers = [(await each).status for each in flood]
    # What is too much is refused at once; the others are let in, each after some 25 ms of computing.
    assert set(answers) <= {200, 429}
    assert answers.count(200) >= 10
    # A busy machine takes longer for all of it; who stood behind the flood would wait for most of it.
    assert longest_s < max(1, flood_s / 4)


async def test_where_clients_had_better_go(database_url: str, tmp_path: Path) -> None:
    base_url = "https://matrix.test.example"
    async with running_server(database_url, tmp_path, None, public_base_url=base_url) as server:
        await server.user("alice")
        answer = (await server.anonymous().post(LOGIN, by_password())).ok()
        assert answer["well_known"] == {"m.homeserver": {"base_url": base_url}}


async def test_logging_in_is_rate_limited(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> None:
    limits = RateLimits(login=Bucket(per_second=0.1, burst=2))
    url = databases.sqlite(tmp_path)
    async with running_server(url, tmp_path, specification, rate_limits=limits) as server:
        await server.user("alice")
        for _ in range(2):
            (await server.anonymous().post(LOGIN, by_password())).ok()
        limited = await server.anonymous().post(LOGIN, by_password())
        assert limited.error(429, "M_LIMIT_EXCEEDED")["retry_after_ms"] > 0
        assert int(limited.headers["retry-after"]) >= 1
