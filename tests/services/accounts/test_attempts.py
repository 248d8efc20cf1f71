import pytest

from homeserver.core.errors import LimitExceeded
from homeserver.core.rate_limit import RateLimit
from homeserver.services.attempts import Guessing, InMemoryAttempts
from tests.services.conftest import MovableClock


@pytest.fixture
def attempts(clock: MovableClock) -> InMemoryAttempts:
    rates = {Guessing.ACCOUNT: RateLimit.of(per_second=0.1, burst=3)}
    return InMemoryAttempts(clock, rates, max_cells=2)


async def is_free(attempts: InMemoryAttempts, name: str, kind: Guessing = Guessing.ACCOUNT) -> bool:
    try:
        await attempts.take(kind, name)
    except LimitExceeded:
        return False
    return True


async def test_failures_add_up_and_are_forgiven_in_time(
    attempts: InMemoryAttempts, clock: MovableClock
) -> None:
    assert [await is_free(attempts, "a") for _ in range(4)] == [True, True, True, False]
    assert await is_free(attempts, "b")
    clock.advance(9_999)
    assert not await is_free(attempts, "a")
    clock.advance(1)
    assert await is_free(attempts, "a")
    assert not await is_free(attempts, "a")


async def test_what_was_right_does_not_count(attempts: InMemoryAttempts) -> None:
    for _ in range(20):
        await attempts.take(Guessing.ACCOUNT, "a")
        await attempts.give_back(Guessing.ACCOUNT, "a")
    assert [await is_free(attempts, "a") for _ in range(4)] == [True, True, True, False]


async def test_kinds_without_a_rate_are_free(attempts: InMemoryAttempts) -> None:
    assert all([await is_free(attempts, "a", Guessing.ADDRESS) for _ in range(100)])
    await attempts.give_back(Guessing.ADDRESS, "a")


async def test_memory_is_bounded(attempts: InMemoryAttempts) -> None:
    for number in range(100):
        await attempts.take(Guessing.ACCOUNT, str(number))
    assert len(attempts._cells) == 2
