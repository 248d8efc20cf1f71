"""Exponential back-off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.backoff import Backoff

HOUR = 3_600_000
POLICIES = st.builds(
    lambda first, more, factor, spread: Backoff(first, first + more, factor, spread),
    st.integers(1, 60_000),
    st.integers(0, 10**9),
    st.floats(1, 10),
    st.floats(0, 1),
)


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(1000, HOUR)
    assert [backoff.delay_ms(failures, jitter=0) for failures in range(6)] == [
        0,
        1000,
        2000,
        4000,
        8000,
        16_000,
    ]
    assert backoff.delay_ms(12, jitter=0) == 2_048_000
    assert backoff.delay_ms(13, jitter=0) == HOUR
    assert backoff.delay_ms(10**9, jitter=0) == HOUR


def test_chance_takes_away_up_to_the_spread() -> None:
    backoff = Backoff(1000, HOUR, spread=0.5)
    assert backoff.delay_ms(1, jitter=0) == 1000
    assert backoff.delay_ms(1, jitter=0.5) == 750
    assert backoff.delay_ms(1, jitter=1) == 500


@given(POLICIES, st.integers(-5, 10**12), st.floats(0, 1))
def test_waits_stay_within_bounds(backoff: Backoff, failures: int, jitter: float) -> None:
    delay_ms = backoff.delay_ms(failures, jitter=jitter)
    if failures <= 0:
        assert delay_ms == 0
    else:
        assert 1 <= delay_ms <= backoff.cap_ms
        assert delay_ms >= int(backoff.first_ms * (1 - backoff.spread)) or delay_ms == 1


@given(POLICIES, st.integers(1, 200), st.floats(0, 1))
def test_waits_never_get_shorter(backoff: Backoff, failures: int, jitter: float) -> None:
    assert backoff.delay_ms(failures + 1, jitter=jitter) >= backoff.delay_ms(failures, jitter=jitter)


@pytest.mark.parametrize(
    ("first_ms", "cap_ms", "factor", "spread"), [(0, 1, 2, 0), (2, 1, 2, 0), (1, 1, 0.5, 0), (1, 1, 2, 1.5)]
)
def test_senseless_policies_are_refused(first_ms: int, cap_ms: int, factor: float, spread: float) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(first_ms, cap_ms, factor, spread)
