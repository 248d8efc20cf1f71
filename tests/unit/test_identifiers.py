"""Appendices, "Identifier Grammar"."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import InvalidParam, InvalidUsername
from homeserver.core.identifiers import (
    EventID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    check_new_localpart,
    localpart_of,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    server_of,
)

HASH = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"


@pytest.mark.parametrize(
    "text",
    [
        # The specification's own examples.
        "matrix.org",
        "matrix.org:8888",
        "1.2.3.4",
        "1.2.3.4:1234",
        "[1234:5678::abcd]",
        "[1234:5678::abcd]:5678",
        # The grammar, and letter case, which is kept.
        "localhost",
        "MATRIX.Org",
        "a-b.c-d",
        "xn--strae-oqa.example",
        "[::]",
        "[::1]:8448",
        "[::FFFF:1.2.3.4]",
        "a:0",
        "a:99999",
        "a" * 255,
    ],
)
def test_server_names(text: str) -> None:
    assert parse_server_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":80",
        "a:",
        "a:80:80",
        "a:123456",
        "a:-1",
        "a:８０",  # full-width digits
        "a:٣",  # an Arabic digit
        "exa_mple.org",
        "exa mple.org",
        "example.org\n",
        "\nexample.org",
        "straße.example",
        "example.org/path",
        "user@example.org",
        "../etc/passwd",
        "example.org?x",
        "example.org#x",
        "example.org%00",
        "a\0b",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[:]",
        "[:::]",
        "[1::2::3]",
        "[12345::]",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "[::1]x",
        "[::1]:",
        "[g::]",
        "[" + "0:" * 40 + "]",
        "a" * 256,
        "\ud800",
    ],
)
def test_what_is_no_server_name(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_server_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "@alice:example.org",
        "@a.b_c=d-e/f+0:example.org:8448",
        "@alice:[::1]:8448",
        "@alice:1.2.3.4",
        # Historical: anything but a colon and NUL, the empty localpart included.
        "@:example.org",
        "@Alice:example.org",
        "@álice:example.org",
        "@a b:example.org",
        "@\x01\x7f:example.org",
        "@\U0001f600:example.org",
        "@@@:example.org",
        "@a#b!c$d:example.org",
    ],
)
def test_user_ids(text: str) -> None:
    assert parse_user_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@:",
        "@alice",
        "@alice:",
        "alice:example.org",
        "!alice:example.org",
        "@alice:exam ple.org",
        "@alice:example.org:",
        "@al:ice:example.org",
        "@al\0ice:example.org",
        "@al\ud800ice:example.org",
        "@alice:example.org\0",
        "@alice:example.org\n",
        " @alice:example.org",
        "@alice:[::g]",
    ],
)
def test_what_is_no_user_id(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_user_id(text)


PARSERS: list[tuple[str, Callable[[str], str]]] = [
    ("@", parse_user_id),
    ("!", parse_room_id),
    ("$", parse_event_id),
    ("#", parse_room_alias),
]


@pytest.mark.parametrize(("sigil", "parse"), PARSERS)
@pytest.mark.parametrize(("letter", "count"), [("a", 253), ("é", 126), ("日", 84), ("\U0001f600", 63)])
def test_the_limit_is_255_bytes(sigil: str, parse: Callable[[str], str], letter: str, count: int) -> None:
    """`count` letters and the sigil leave 1 or 2 bytes: for the colon, and for a server name of one byte."""
    stem = sigil + letter * (count - 1)
    fill = 255 - len(stem.encode()) - len(":x")
    longest = stem + "b" * fill + ":x"
    assert len(longest.encode()) == 255
    assert parse(longest) == longest
    with pytest.raises(InvalidParam):
        parse(stem + "b" * (fill + 1) + ":x")


@pytest.mark.parametrize(("sigil", "parse"), PARSERS)
@given(text=st.text(max_size=60))
def test_parsers_accept_or_raise(sigil: str, parse: Callable[[str], str], text: str) -> None:
    for candidate in (text, sigil + text, f"{sigil}{text}:example.org"):
        try:
            assert parse(candidate) == candidate
        except InvalidParam:
            continue
        assert candidate.startswith(sigil)
        assert "\0" not in candidate
        assert len(candidate.encode()) <= 255


@given(localpart=st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":\0"), max_size=60))
def test_every_historical_localpart_is_accepted(localpart: str) -> None:
    user_id = parse_user_id(f"@{localpart}:example.org")
    assert localpart_of(user_id) == localpart
    assert server_of(user_id) == "example.org"


@pytest.mark.parametrize(
    "text", ["!room:example.org", "!room:example.org:80", f"!{HASH}", "!r oöm:example.org", "!a/b:[::1]"]
)
def test_room_ids(text: str) -> None:
    assert parse_room_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "!", "!:example.org", "!a:", "!a:b c", "#a:example.org", "room", "!a\0b:example.org", "!\udfff"],
)
def test_what_is_no_room_id(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_room_id(text)


@pytest.mark.parametrize(
    "text",
    ["$a4ecee13e2accdadf56c1025:example.com", "$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk", f"${HASH}"],
)
def test_event_ids(text: str) -> None:
    assert parse_event_id(text) == text


@pytest.mark.parametrize("text", ["", "$", "a:b", "$:example.org", "$a:", "$a\0:b", "$a:b:c:d"])
def test_what_is_no_event_id(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_event_id(text)


@pytest.mark.parametrize("text", ["#room:example.org", "#日 本:example.org", "##:example.org"])
def test_room_aliases(text: str) -> None:
    assert parse_room_alias(text) == text


@pytest.mark.parametrize(
    "text", ["", "#", "#a", "#:example.org", "#a:", "room:example.org", "#a\0:b", "#\ud801:b"]
)
def test_what_is_no_room_alias(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_room_alias(text)


def test_parts_of_identifiers() -> None:
    assert localpart_of(UserID("@alice:example.org:80")) == "alice"
    assert localpart_of(UserID("@:example.org")) == ""
    assert localpart_of(RoomAlias("#room:example.org")) == "room"
    assert server_of(UserID("@alice:[::1]:80")) == "[::1]:80"
    assert server_of(RoomID("!room:example.org")) == "example.org"
    assert server_of(RoomID(f"!{HASH}")) is None
    assert server_of(EventID(f"${HASH}")) is None
    assert server_of(EventID("$abc:example.org")) == "example.org"


@pytest.mark.parametrize("localpart", ["alice", "0", "a.b_c=d-e/f+g", "_", "a" * 200])
def test_new_localparts(localpart: str) -> None:
    check_new_localpart(localpart)


@pytest.mark.parametrize(
    "localpart", ["", "Alice", "ali ce", "álice", "а", "a:b", "a\0", "a\n", "@alice", "a\u200b", "a" * 253]
)
def test_what_is_no_new_localpart(localpart: str) -> None:
    with pytest.raises(InvalidUsername):
        check_new_localpart(localpart)


def test_a_new_user_id_fits_with_its_server() -> None:
    server = ServerName("example.org")
    check_new_localpart("a" * (255 - len("@:example.org")), server_name=server)
    with pytest.raises(InvalidUsername):
        check_new_localpart("a" * (256 - len("@:example.org")), server_name=server)
