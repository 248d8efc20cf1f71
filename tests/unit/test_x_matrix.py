"""Server-server API, "Request Authentication": the header."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import Unauthorized
from homeserver.core.identifiers import ServerName
from homeserver.core.json import canonical
from homeserver.core.signing import SigningKey, verify_json
from homeserver.core.x_matrix import (
    MAX_HEADER_LENGTH,
    XMatrix,
    is_x_matrix,
    parse,
    sign_request,
    signed_request,
)

PLAIN = XMatrix("a.test", "b.test:80", "ed25519:k", "c2ln")

TCHARS = "!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits
TOKENS = st.text(TCHARS, min_size=1, max_size=30)
QUOTABLE = st.text("".join(map(chr, range(0x20, 0x7F))) + "\t" + "äöü", min_size=1, max_size=30)


def test_it_is_written_as_all_servers_understand_it() -> None:
    assert PLAIN.header() == 'X-Matrix origin="a.test",destination="b.test:80",key="ed25519:k",sig="c2ln"'


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.test",destination="b.test:80",key="ed25519:k",sig="c2ln"',
        'x-matrix origin="a.test",destination="b.test:80",key="ed25519:k",sig="c2ln"',
        'X-MATRIX   ORIGIN="a.test",Destination="b.test:80",KEY="ed25519:k",Sig="c2ln"',
        "X-Matrix origin=a.test,destination=b.test:80,key=ed25519:k,sig=c2ln",
        'X-Matrix origin=a.test , \t destination="b.test:80"\t,key=ed25519:k,\tsig=c2ln  ',
        'X-Matrix sig="c2ln",key="ed25519:k",destination="b.test:80",origin="a.test"',
        'X-Matrix origin="a\\.tes\\t",destination="b.test:80",key="ed25519:k",sig="c2ln"',
        'X-Matrix origin="a.test",destination="b.test:80",key="ed25519:k",signature="c2ln"',
        'X-Matrix origin="a.test",destination="b.test:80",key="ed25519:k",sig="c2ln",other="x,\\"y",z=1',
        'X-Matrix origin = "a.test", destination ="b.test:80", key= "ed25519:k", sig="c2ln"',
        'X-Matrix origin="a.test",,destination="b.test:80", ,key="ed25519:k",sig="c2ln",',
    ],
)
def test_every_way_of_writing_it(header: str) -> None:
    assert parse(header) == PLAIN


def test_older_servers_leave_the_destination_out() -> None:
    assert parse('X-Matrix origin=a.test,key="ed25519:k",sig="c2ln"') == XMatrix(
        "a.test", None, "ed25519:k", "c2ln"
    )


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "X-Matrix ",
        "Bearer abc",
        "X-Matrixorigin=a",
        "X-Matrix\torigin=a,key=b,sig=c",
        "X-Matrix origin=a,key=b",
        "X-Matrix origin=a,sig=c",
        "X-Matrix key=b,sig=c",
        'X-Matrix origin="",key=b,sig=c',
        "X-Matrix origin=,key=b,sig=c",
        "X-Matrix origin=a,origin=a,key=b,sig=c",
        "X-Matrix origin=a,ORIGIN=x,key=b,sig=c",
        "X-Matrix origin=a key=b sig=c",
        "X-Matrix origin=a;key=b;sig=c",
        'X-Matrix origin="a,key=b,sig=c',
        'X-Matrix origin="a\\",key=b,sig=c',
        'X-Matrix origin="a"b,key=b,sig=c',
        'X-Matrix origin="a\n",key=b,sig=c',
        'X-Matrix origin="a\0",key=b,sig=c',
        "X-Matrix origin=a/b,key=b,sig=c",
        "X-Matrix =a,key=b,sig=c",
        "X-Matrix ,",
        "X-Matrix origin=a,key=b,sig=c" + "," * MAX_HEADER_LENGTH,
    ],
)
def test_what_is_malformed_is_refused(header: str) -> None:
    with pytest.raises(Unauthorized):
        parse(header)


@given(TOKENS, st.none() | TOKENS, TOKENS, TOKENS)
def test_tokens_survive(origin: str, destination: str | None, key: str, signature: str) -> None:
    header = XMatrix(origin, destination, key, signature)
    assert parse(header.header()) == header


@given(QUOTABLE, QUOTABLE, st.data())
def test_quoted_strings_survive(origin: str, key: str, data: st.DataObject) -> None:
    def quoted(text: str) -> str:
        escaped = [
            f"\\{each}" if each in '"\\' or data.draw(st.booleans(), label="escape") else each
            for each in text
        ]
        return f'"{"".join(escaped)}"'

    assert parse(f"X-Matrix origin={quoted(origin)},key={quoted(key)},sig=x") == XMatrix(
        origin, None, key, "x"
    )


@given(st.text(max_size=200) | st.text(TCHARS + '"\\,= :\t', max_size=200))
def test_nothing_else_than_a_refusal_comes_of_it(text: str) -> None:
    for header in (text, f"X-Matrix {text}", f"X-Matrix origin=a,key=b,sig={text}"):
        try:
            parsed = parse(header)
        except Unauthorized:
            continue
        assert parsed.origin
        assert parsed.key
        assert parsed.signature
        assert is_x_matrix(header)


@pytest.mark.parametrize(
    "text", ['X-Matrix origin="' + "\\a" * 2_000, "X-Matrix " + "a=b," * 1_000, "X-Matrix " + "\t" * 4_000]
)
def test_long_ones_are_settled_at_once(text: str) -> None:
    with pytest.raises(Unauthorized):
        parse(text)


def test_what_cannot_be_written_without_a_backslash_is_not_written() -> None:
    with pytest.raises(ValueError):
        XMatrix('a"b', None, "k", "s").header()


def test_a_request_is_signed_as_its_receiver_checks_it() -> None:
    key = SigningKey.generate("k", seed=bytes(32))
    origin, destination = ServerName("a.test"), ServerName("b.test")
    content = canonical({"b": [1], "a": "ä"})
    header = sign_request("PUT", "/x?y=%20", origin, destination, content, key)
    assert (header.origin, header.destination, header.key) == (origin, destination, "ed25519:k")
    request = signed_request("PUT", "/x?y=%20", origin, destination, {"a": "ä", "b": [1]})
    request["signatures"] = {origin: {header.key: header.signature}}
    verify_json(request, origin, header.key, key.verify_key)
    assert "content" not in signed_request("GET", "/x", origin, destination, None)
    assert "destination" not in signed_request("GET", "/x", origin, None, None)
