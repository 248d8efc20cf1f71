"""Rate limits that several processes count together, in a real Redis."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.errors import LimitExceeded
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.rate_limit import RateLimit
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Limit
from homeserver.http.rate_limits import InMemoryRateLimiter
from homeserver.http.shared_rate_limits import SharedRateLimiter
from homeserver.runtime.cells import CellsUnavailable
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.redis_cells import RedisCells
from homeserver.services.attempts import Guessing, InMemoryAttempts
from homeserver.services.shared_attempts import SharedAttempts
from tests.replicas.conftest import RedisLink, Replicas, person

SLOW = RateLimit.of(per_second=0.001, burst=5)
START_MS = 1_700_000_000_000


@pytest.fixture
async def cells(redis: RedisLink) -> AsyncIterator[RedisCells]:
    made = RedisCells(redis.url, f"test:{uuid.uuid4()}:")
    yield made
    await made.stop()


async def outcomes(*work: Any) -> list[object]:
    """Do all of it at the same time; results and errors."""

    def caught(each: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(each).addErrback(lambda failure: failure.value)

    return await gatherResults([caught(each) for each in work])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Slow ones: Redis forgets a cell by its own clock, which stands still meanwhile.
    st.floats(0.001, 0.1),
    st.integers(1, 50),
    st.lists(st.integers(-20_000, 200_000), max_size=25),
)
async def test_it_counts_as_one_process_would(
    cells: RedisCells, per_second: float, burst: int, pauses: list[int]
) -> None:
    """The script says what the pure function says, the clock being set back included."""
    rate = RateLimit.of(per_second=per_second, burst=burst)
    key = str(uuid.uuid4())
    cell: int | None = None
    now_ms = START_MS
    for pause in pauses:
        now_ms += pause
        cell, wait_ms = rate.take(cell, now_ms)
        assert await cells.take(key, rate, now_ms=now_ms) == wait_ms


async def test_by_the_clock_of_redis(cells: RedisCells) -> None:
    waits = [await cells.take("a", SLOW) for _ in range(7)]
    assert waits[:5] == [0] * 5
    assert all(990_000 < wait <= 1_000_000 for wait in waits[5:])
    assert await cells.take("b", SLOW) == 0
    await cells.give_back("a", SLOW)
    assert [await cells.take("a", SLOW) > 0 for _ in range(2)] == [False, True]


async def test_what_comes_at_once_is_counted_once_each(cells: RedisCells, redis: RedisLink) -> None:
    other = RedisCells(redis.url, cells._prefix)
    waits = await outcomes(*(each.take("a", SLOW) for _ in range(40) for each in (cells, other)))
    assert waits.count(0) == 5
    assert all(isinstance(wait, int) for wait in waits)
    await other.stop()


async def test_a_cell_is_forgotten_when_it_is_meaningless(cells: RedisCells) -> None:
    async def lasts_ms(key: str) -> int:
        return int(await cells._redis.pttl(cells._prefix + key))

    await cells.take("fast", RateLimit.of(per_second=1000, burst=1))
    await cells.take("slow", SLOW)
    assert await Deferred.fromFuture(asyncio.ensure_future(lasts_ms("fast"))) <= 2
    assert await Deferred.fromFuture(asyncio.ensure_future(lasts_ms("slow"))) > 900_000


def requester(name: str) -> Requester:
    user_id = UserID(f"@{name}:test.example")
    return Requester(
        user_id, DeviceID("D"), is_guest=False, is_admin=False, appservice_id=None, token_hash=b""
    )


async def test_without_redis_each_process_counts_by_itself(
    cells: RedisCells, redis: RedisLink, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SystemClock()
    rates = {Limit.LOGIN: SLOW}
    limiter = SharedRateLimiter(rates, cells, InMemoryRateLimiter(rates, clock))
    guesses = {Guessing.ACCOUNT: SLOW}
    attempts = SharedAttempts(cells, InMemoryAttempts(clock, guesses), guesses)
    alice = requester("alice")

    async def refused() -> tuple[int, int]:
        checks = await outcomes(*(limiter.check(Limit.LOGIN, alice) for _ in range(8)))
        takes = await outcomes(*(attempts.take(Guessing.ACCOUNT, "alice") for _ in range(8)))
        assert all(each is None or isinstance(each, LimitExceeded) for each in (*checks, *takes))
        return len([each for each in checks if each]), len([each for each in takes if each])

    assert await refused() == (3, 3)
    await redis.cut()
    with pytest.raises(CellsUnavailable):
        await cells.take("a", SLOW)
    assert await refused() == (3, 3), "a burst of its own"
    assert await refused() == (8, 8)
    cells.PAUSE_S = 0.0
    redis.mend()
    assert await cells.take("b", SLOW) == 0
    assert await refused() == (8, 8), "what Redis has counted before"
    # A limit that is none costs nothing, and callers are told apart.
    await limiter.check(Limit.MESSAGES, alice)
    await limiter.check(Limit.LOGIN, requester("bob"))
    await attempts.take(Guessing.ADDRESS, "192.0.2.1")
    await attempts.give_back(Guessing.ADDRESS, "192.0.2.1")
    said = capsys.readouterr()
    assert (said.out + said.err).count("Redis does not answer") == 1
    assert (said.out + said.err).count("Redis answers again") == 1


async def test_two_processes_count_together(replicas_with_limits: Replicas) -> None:
    """Five messages in all, whichever process they are sent through."""
    alice = await person(replicas_with_limits, "alice")
    room = await alice.a.create_room()
    path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/"
    statuses = []
    for number in range(12):
        client = (alice.a, alice.b)[number % 2]
        answer = await client.put(f"{path}t{number}", {"msgtype": "m.text", "body": "m"})
        statuses.append(answer.status)
        if answer.status == 429:
            assert answer.json["errcode"] == "M_LIMIT_EXCEEDED"
            assert 0 < answer.json["retry_after_ms"] <= 1_000_000
    assert statuses == [200] * 5 + [429] * 7
