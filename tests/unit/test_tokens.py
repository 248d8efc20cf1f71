"""Stream tokens have one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.endpoint_errors import UnknownPos
from homeserver.core.errors import InvalidParam
from homeserver.core.tokens import SlidingToken, parse_stream_token, stream_token

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@given(position=INT64)
def test_round_trip(position: int) -> None:
    assert parse_stream_token(stream_token(position)) == position


@given(text=st.one_of(st.text(max_size=30), st.from_regex(r"s-?[0-9]{1,25}\n?")))
def test_whatever_is_read_is_what_would_be_written(text: str) -> None:
    try:
        position = parse_stream_token(text)
    except InvalidParam:
        return
    assert stream_token(position) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "s-",
        "s-0",
        "s01",
        "s+1",
        "s1.0",
        "s1e3",
        "s 1",
        "s1 ",
        "s1\n",
        "s１",
        "S1",
        "1",
        "t1",
        "s1_2",
        "s--1",
        f"s{2**63}",
        f"s{-(2**63) - 1}",
        "s" + "9" * 10_000,
        "s1\0",
    ],
)
def test_foreign_tokens(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_stream_token(text)


NUMBERS = st.integers(min_value=1, max_value=10**18 - 1)


@given(position=st.integers(min_value=0, max_value=10**18 - 1), connection=NUMBERS, step=NUMBERS)
def test_tokens_of_sliding_sync(position: int, connection: int, step: int) -> None:
    token = SlidingToken(position, connection, step)
    assert SlidingToken.parse(str(token)) == token
    assert parse_stream_token(str(token)) == position


@pytest.mark.parametrize(
    "text", ["", "s1", "s1_2", "s1_2_3_4", "s01_2_3", "s1_0_3", "s-1_2_3", "s1_2_3\n", f"s{10**18}_1_1"]
)
def test_foreign_tokens_of_sliding_sync(text: str) -> None:
    with pytest.raises(UnknownPos):
        SlidingToken.parse(text)
