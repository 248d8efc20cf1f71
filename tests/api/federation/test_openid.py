"""Client-server and server-server API, `openid.yaml`."""

from pathlib import Path

import attrs

from homeserver.runtime.clock import SystemClock
from homeserver.services.openid_tokens import LIFETIME_MS
from tests.api.server import PASSWORD, SERVER_NAME, Client, TestServer, path_of, running_server
from tests.openapi import Specification

USERINFO = "/_matrix/federation/v1/openid/userinfo"


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, and what the test adds."""

    ahead_ms: int = 0

    def now_ts(self) -> int:
        return super().now_ts() + self.ahead_ms


async def token_of(user: Client) -> str:
    answer = (await user.post(path_of("user", user.user_id, "openid", "request_token"))).ok()
    assert answer["token_type"] == "Bearer"
    assert answer["matrix_server_name"] == SERVER_NAME
    assert answer["expires_in"] * 1000 == LIFETIME_MS
    token: str = answer["access_token"]
    return token


async def test_a_token_tells_whose_it_is(server: TestServer, alice: Client, bob: Client) -> None:
    token = await token_of(alice)
    assert await token_of(alice) != token
    for _ in range(2):
        found = (await server.anonymous().get(USERINFO, access_token=token)).ok()
        assert found == {"sub": alice.user_id}
    found = (await server.anonymous().get(USERINFO, access_token=await token_of(bob))).ok()
    assert found == {"sub": bob.user_id}


async def test_a_token_is_good_for_nothing_else(server: TestServer, alice: Client) -> None:
    token = await token_of(alice)
    answer = await server.anonymous().request("GET", path_of("account", "whoami"), token=token)
    answer.error(401, "M_UNKNOWN_TOKEN")
    answer = await server.anonymous().get(USERINFO, access_token=alice.access_token)
    answer.error(401, "M_UNKNOWN_TOKEN")


async def test_tokens_that_are_none(server: TestServer) -> None:
    anonymous = server.anonymous()
    (await anonymous.get(USERINFO)).error(401, "M_MISSING_TOKEN")
    (await anonymous.get(USERINFO, access_token="")).error(401, "M_MISSING_TOKEN")
    (await anonymous.get(USERINFO, access_token="x" * 5000)).error(401, "M_UNKNOWN_TOKEN")


async def test_nobody_gets_tokens_of_others(server: TestServer, alice: Client, bob: Client) -> None:
    answer = await alice.post(path_of("user", bob.user_id, "openid", "request_token"))
    answer.error(403, "M_FORBIDDEN")
    path = path_of("user", alice.user_id, "openid", "request_token")
    (await server.anonymous().post(path)).error(401, "M_MISSING_TOKEN")


async def test_a_token_expires(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    clock = MovableClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice = await server.user("alice")
        token = await token_of(alice)
        clock.ahead_ms = LIFETIME_MS - 60_000
        (await server.anonymous().get(USERINFO, access_token=token)).ok()
        clock.ahead_ms = LIFETIME_MS + 1
        answer = await server.anonymous().get(USERINFO, access_token=token)
        answer.error(401, "M_UNKNOWN_TOKEN")
        # Making another removes it.
        await token_of(alice)


async def test_a_closed_account_has_no_tokens(server: TestServer, alice: Client) -> None:
    token = await token_of(alice)
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": alice.user_id},
        "password": PASSWORD,
    }
    session = (await alice.post(path_of("account", "deactivate"))).json["session"]
    (await alice.post(path_of("account", "deactivate"), {"auth": {**auth, "session": session}})).ok()
    answer = await server.anonymous().get(USERINFO, access_token=token)
    answer.error(401, "M_UNKNOWN_TOKEN")
