"""Client-server API, "Rate limiting"; and how large a request may be."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.web.client import HTTPConnectionPool

from homeserver.app.endpoints import endpoints
from homeserver.config.sections import Bucket, Limits, RateLimits, Resource
from homeserver.http.endpoints import Auth, Limit
from homeserver.runtime.clock import SystemClock
from tests.api.client.test_every_endpoint import LETS_GO, path_to
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.databases import Databases
from tests.openapi import Specification

BURST = 4
PER_SECOND = 0.1


@attrs.define
class MovableClock(SystemClock):
    """The system's clock, set forward by `ahead_ms`."""

    ahead_ms: int = 0

    def monotonic_ms(self) -> int:
        return super().monotonic_ms() + self.ahead_ms


@pytest.fixture
async def limited(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """Everybody may do everything four times, and once more every ten seconds. Accounts are made elsewhere."""
    url, clock = databases.sqlite(tmp_path), MovableClock()
    buckets = {limit.value: Bucket(per_second=PER_SECOND, burst=BURST) for limit in Limit}
    limits = RateLimits(enabled=True, **buckets)
    options: dict[str, Any] = {
        "rate_limits": limits,
        "clock": clock,
        "public_base_url": "https://matrix.test.example",
    }
    async with running_server(url, tmp_path, specification, **options) as server:
        yield server


def check_refusal(answer: Any, wait_ms: int = 10_000) -> None:
    told = answer.error(429, "M_LIMIT_EXCEEDED")
    assert 0 < told["retry_after_ms"] <= wait_ms
    assert 1 <= int(answer.headers["retry-after"]) <= wait_ms // 1000
    assert int(answer.headers["retry-after"]) * 1000 >= told["retry_after_ms"]


async def test_who_sends_too_often_waits_as_long_as_told(limited: TestServer) -> None:
    alice, bob = await limited.user("alice"), await limited.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    for number in range(BURST):
        await alice.send(room, str(number))
    message = {"msgtype": "m.text", "body": "refused"}
    path = room_path(room, "send", "m.room.message", "refused")
    refused = await alice.put(path, message)
    check_refusal(refused)
    # State and redactions draw on the same account; reading does not; nor does anybody else.
    state = room_path(room, "state", "m.room.topic", "")
    check_refusal(await alice.put(state, {"topic": "refused"}))
    assert await alice.messages_in(room) == ["0", "1", "2", "3"]
    await alice.sync()
    await bob.send(room, "bob's")
    clock = limited.clock
    assert isinstance(clock, MovableClock)
    clock.ahead_ms += int(refused.headers["retry-after"]) * 1000
    (await alice.put(path, message)).ok()
    check_refusal(await alice.put(state, {"topic": "refused"}))
    assert await alice.messages_in(room) == ["0", "1", "2", "3", "bob's", "refused"]


async def test_every_limit_is_one_and_says_so(limited: TestServer) -> None:
    # An hour later the server closes connections that are idle: none is to be.
    limited = attrs.evolve(limited, pool=HTTPConnectionPool(reactor, persistent=False))
    alice = await limited.user("alice")
    clock = limited.clock
    assert isinstance(clock, MovableClock)
    for endpoint in endpoints(limited.server.config, limited.server.services, list(Resource)):
        if endpoint.spec.limit is None or endpoint.function.__name__ in LETS_GO:
            continue
        if endpoint.spec.auth is Auth.SERVER:
            # What becomes of those is shown by a server that signs: tests/federation/test_limits.py.
            assert endpoint.spec.limit is Limit.FEDERATION
            continue
        clock.ahead_ms += 60 * 60_000
        client = limited.anonymous() if endpoint.spec.auth is Auth.NONE else alice
        path = path_to(endpoint)
        for _ in range(BURST):
            answer = await client.request(endpoint.spec.method, path, {}, check=False)
            assert answer.status != 429, endpoint.spec
        check_refusal(await client.request(endpoint.spec.method, path, {}))


async def test_without_limits_there_are_none(alice: Client) -> None:
    path = path_of("profile", alice.user_id, "displayname")
    for number in range(210):
        (await alice.put(path, {"displayname": str(number)})).ok()


async def test_requests_have_a_largest_size(
    databases: Databases, tmp_path: Path, specification: Specification | None
) -> None:
    largest = 65_536
    url = databases.sqlite(tmp_path)
    async with running_server(
        url, tmp_path, specification, limits=Limits(max_request_bytes=largest)
    ) as server:
        alice = await server.user("alice")
        path = path_of("user", alice.user_id, "account_data", "org.example")
        body = b'{"a": "%b"}'
        (await alice.put(path, body % (b"x" * (largest - len(body) + 2)))).ok()
        for size in (largest + 1, 10 * largest):
            (await alice.put(path, body % (b"y" * (size - len(body) + 2)))).error(413, "M_TOO_LARGE")
        # The next request is none the worse for it, and nothing has been kept.
        assert set((await alice.get(path)).ok()["a"]) == {"x"}
