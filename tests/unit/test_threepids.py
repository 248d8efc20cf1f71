"""Appendices, "3PID Types"."""

import pytest

from homeserver.core.errors import InvalidParam
from homeserver.core.threepids import Threepid, canonical, check_opaque, email_of


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("bob@example.com", "bob@example.com"),
        ("Bob@Example.COM", "bob@example.com"),
        (" bob@example.com ", "bob@example.com"),
        ("bob+tag.x@a-b.example.org", "bob+tag.x@a-b.example.org"),
        ("o'neil_{}|~!#$%&*/=?^`@xn--bcher-kva.example", "o'neil_{}|~!#$%&*/=?^`@xn--bcher-kva.example"),
    ],
)
def test_addresses(typed: str, address: str) -> None:
    assert email_of(typed) == Threepid("email", address)


@pytest.mark.parametrize(
    "typed", ["", "bob", "bob@", "@a.b", "bob@a", "bob@a_b.c", "bob@-a.b", "bob@a.b.", "b\nb@a.b"]
)
def test_what_is_no_address(typed: str) -> None:
    with pytest.raises(InvalidParam):
        email_of(typed)


def test_kelvin_is_no_k() -> None:
    """Case-folding must not lead from one owner's address to another's."""
    with pytest.raises(InvalidParam):
        email_of("\u212aelvin@example.org")


def test_telephone_numbers() -> None:
    assert canonical("msisdn", "+447700900001") == Threepid("msisdn", "447700900001")
    for wrong in ("", "+", "07700 900001", "x", "1" * 16, "٤٤٧٧٠"):
        with pytest.raises(InvalidParam):
            canonical("msisdn", wrong)
    with pytest.raises(InvalidParam):
        canonical("icq", "1234")


def test_secrets_of_clients() -> None:
    assert check_opaque("aZ09.=_-", "sid") == "aZ09.=_-"
    for wrong in ("", "a b", "a\n", "x" * 256, "ü"):
        with pytest.raises(InvalidParam, match="sid"):
            check_opaque(wrong, "sid")
