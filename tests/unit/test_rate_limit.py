"""Rate limits: what they promise, over any sequence of requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.rate_limit import RateLimit

LIMITS = st.builds(
    lambda per_second, burst: RateLimit.of(per_second=per_second, burst=burst),
    st.floats(0.001, 5000),
    st.integers(1, 50),
)
GAPS = st.lists(st.integers(0, 5000), min_size=1, max_size=60)


def test_a_burst_is_granted_and_then_one_each_interval() -> None:
    limit = RateLimit.of(per_second=2, burst=3)
    cell: int | None = None
    answers = []
    for now_ms in (0, 0, 0, 0, 499, 500, 500, 1500):
        cell, retry_after_ms = limit.take(cell, now_ms)
        answers.append(retry_after_ms)
    assert answers == [0, 0, 0, 500, 1, 0, 500, 0]


def test_one_request_at_a_time_without_a_burst() -> None:
    limit = RateLimit.of(per_second=0.1, burst=1)
    cell, retry_after_ms = limit.take(None, 1000)
    assert retry_after_ms == 0
    assert limit.take(cell, 1000)[1] == 10_000
    assert limit.take(cell, 10_999)[1] == 1
    assert limit.take(cell, 11_000)[1] == 0


@given(LIMITS, GAPS)
def test_no_span_of_time_has_more_than_its_share(limit: RateLimit, gaps: list[int]) -> None:
    """In any span, no more is granted than the burst and what the span itself is good for."""
    cell: int | None = None
    now_ms = 0
    granted: list[int] = []
    for gap in gaps:
        now_ms += gap
        cell, retry_after_ms = limit.take(cell, now_ms)
        if retry_after_ms == 0:
            granted.append(now_ms)
    burst = limit.burst_us // limit.interval_us
    for index, start in enumerate(granted):
        for count, end in enumerate(granted[index:], start=1):
            assert count <= burst + (end - start) * 1000 // limit.interval_us


@given(LIMITS, GAPS)
def test_who_waits_as_told_is_granted_and_not_a_millisecond_earlier(
    limit: RateLimit, gaps: list[int]
) -> None:
    cell: int | None = None
    now_ms = 0
    for gap in gaps:
        now_ms += gap
        cell, retry_after_ms = limit.take(cell, now_ms)
        if retry_after_ms > 0:
            assert limit.take(cell, now_ms + retry_after_ms - 1)[1] > 0
            assert limit.take(cell, now_ms + retry_after_ms)[1] == 0


@given(LIMITS, st.integers(0, 10**9))
def test_refusals_cost_nothing(limit: RateLimit, now_ms: int) -> None:
    cell: int | None = None
    retry_after_ms = 0
    while retry_after_ms == 0:
        cell, retry_after_ms = limit.take(cell, now_ms)
    for _ in range(5):
        again, wait_ms = limit.take(cell, now_ms)
        assert (again, wait_ms) == (cell, retry_after_ms)


@given(LIMITS, st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_clock_set_back_locks_nobody_out(limit: RateLimit, now_ms: int, back_ms: int) -> None:
    cell, _ = limit.take(None, now_ms)
    _, retry_after_ms = limit.take(cell, now_ms - back_ms)
    assert retry_after_ms * 1000 <= limit.burst_us + 1000


def test_costs_count_as_so_many_requests() -> None:
    limit = RateLimit.of(per_second=1, burst=10)
    cell, retry_after_ms = limit.take(None, 0, cost=7)
    assert retry_after_ms == 0
    assert limit.take(cell, 0, cost=4)[1] == 1000
    assert limit.take(cell, 0, cost=3)[1] == 0


def test_a_cost_beyond_the_burst_can_be_granted() -> None:
    limit = RateLimit.of(per_second=1, burst=10)
    cell, retry_after_ms = limit.take(None, 0, cost=1000)
    assert retry_after_ms == 0
    assert limit.take(cell, 0)[1] == 1000


def test_idle_cells_may_be_forgotten() -> None:
    limit = RateLimit.of(per_second=1, burst=2)
    cell, _ = limit.take(None, 0)
    assert not limit.is_idle(cell, 999)
    assert limit.is_idle(cell, 1000)
    assert limit.take(cell, 1000) == limit.take(None, 1000)


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_senseless_limits_are_refused(per_second: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        RateLimit.of(per_second=per_second, burst=burst)
