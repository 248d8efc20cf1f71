"""Appendices, "Canonical JSON", and what no JSON body may do to us."""

import json as standard_json
import math
import random
import time
from collections.abc import Callable

import canonicaljson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeserver.core.errors import BadJson, NotJson
from homeserver.core.json import (
    MAX_NESTING,
    MAX_SAFE_INTEGER,
    JsonObject,
    JsonValue,
    canonical,
    canonical_without_floats,
    check_canonical,
    decode,
    decode_object,
    encode,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SAFE_INTEGERS = st.integers(min_value=-MAX_SAFE_INTEGER, max_value=MAX_SAFE_INTEGER)


def values(scalars: st.SearchStrategy[JsonValue]) -> st.SearchStrategy[JsonValue]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
        max_leaves=20,
    )


CANONICAL_VALUES = values(st.none() | st.booleans() | SAFE_INTEGERS | TEXT)
ALL_VALUES = values(
    st.none() | st.booleans() | st.integers() | TEXT | st.floats(allow_nan=False, allow_infinity=False)
)


# Canonical JSON


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "{}"),
        ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
        ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
        ('{"b":"2","a":"1"}', '{"a":"1","b":"2"}'),
        (
            """{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {
                "display_name": "John Doe", "three_pids": [
                    {"medium": "email", "address": "john.doe@example.org"},
                    {"medium": "msisdn", "address": "123456789"}]}}}""",
            (
                '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
                '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},'
                '"success":true}}'
            ),
        ),
        ('{"a": "日本語"}', '{"a":"日本語"}'),
        ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
        (r'{"a": "\u65E5"}', '{"a":"日"}'),
        ('{"a": null}', '{"a":null}'),
        ('{"a": -0}', '{"a":0}'),
    ],
)
def test_the_examples_of_the_specification(text: str, expected: str) -> None:
    assert canonical(decode(text.encode())) == expected.encode()


def test_escapes_are_those_of_the_grammar() -> None:
    every = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028'
    assert canonical(every) == (
        rb'"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f'
        rb"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f"
        b'\\"\\\\/\x7f\xe2\x80\xa8"'
    )


def test_keys_are_sorted_by_code_point() -> None:
    """In UTF-16 an astral character sorts before U+FFFF."""
    value: JsonObject = {"\U0001f600": 1, "\uffff": 2, "é": 3, "a": 4, "B": 5, "": 6}
    assert canonical(value) == '{"":6,"B":5,"a":4,"é":3,"\uffff":2,"\U0001f600":1}'.encode()


@given(value=CANONICAL_VALUES)
def test_canonical_json_is_that_of_the_library(value: JsonValue) -> None:
    check_canonical(value)
    expected = canonicaljson.encode_canonical_json(value)
    assert canonical(value) == expected
    assert canonical_without_floats(value) == expected
    assert decode(expected) == value


@given(value=ALL_VALUES)
@example(value=[1e16, 1e22, 1e-7, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 2**64, -(2**70)])
def test_floats_and_large_integers_are_written_as_the_library_writes_them(value: JsonValue) -> None:
    assert canonical(value) == canonicaljson.encode_canonical_json(value)


@given(value=CANONICAL_VALUES, seed=st.integers())
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: JsonValue, seed: int) -> None:
    assert canonical(shuffled(value, random.Random(seed))) == canonical(value)


def shuffled(value: JsonValue, rng: random.Random) -> JsonValue:
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_canonical_json_has_no_nan_and_no_infinity(number: float) -> None:
    holders: list[JsonValue] = [number, [number], {"a": {"b": [number]}}]
    for value in holders:
        with pytest.raises(BadJson):
            canonical(value)


@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"\ud800": 1}, {"a": 1.5, "b": "\ud800"}])
def test_canonical_json_has_no_lone_surrogates(value: JsonValue) -> None:
    with pytest.raises(BadJson):
        canonical(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (1.0, "$"),
        ({"a": 1e5}, "$.a"),
        ({"a": [0, {"b.c": -0.0}]}, "$.a[1].b.c"),
        ([[[math.nan]]], "$[0][0][0]"),
        ({"depth": 2**53}, "$.depth"),
        ({"depth": -(2**53)}, "$.depth"),
        ({"ok": True, "users": {"@a:b": 10**30}}, "$.users.@a:b"),
    ],
)
def test_numbers_that_canonical_json_has_not(value: JsonValue, path: str) -> None:
    with pytest.raises(BadJson) as caught:
        check_canonical(value)
    assert caught.value.message.startswith(f"{path}: ")


def test_a_fault_at_the_bottom_is_found_on_any_stack() -> None:
    """Long keys must not make the search expensive either."""
    value: JsonValue = 0.5
    for level in range(MAX_NESTING // 2):
        value = {"x" * 200: [0, value], str(level): list(range(20))}

    def at_depth(frames: int) -> str:
        if frames:
            return at_depth(frames - 1)
        with pytest.raises(BadJson) as caught:
            check_canonical(value)
        return caught.value.message

    step = "." + "x" * 200 + "[1]"
    assert at_depth(700) == "$" + step * (MAX_NESTING // 2) + ": a float is not allowed"


def test_numbers_at_the_edge() -> None:
    check_canonical([MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, 0, True, False, None, "1.5"])


@pytest.mark.parametrize("number", [b"1e10", b"1E2", b"1.0", b"-0.0", b"0e0"])
def test_a_float_is_a_float_even_if_it_is_whole(number: bytes) -> None:
    """Room version 6: "numeric values may no longer be formatted as floats"."""
    with pytest.raises(BadJson):
        check_canonical(decode(number))


# Decoding


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b'{"a" 1}',
        b"{a:1}",
        b"{'a':1}",
        b"{1:2}",
        b"[1] x",
        b"{}{}",
        b"{}\0",
        b"nul",
        b"True",
        b"// c\n1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[NaN]",
        b"01",
        b"-01",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"0x10",
        b"1_000",
        b'"\t"',
        b'"a\0b"',
        rb'"\x41"',
        rb'"\:"',
        rb'"\u12"',
        # Lone surrogates, as escapes and raw.
        rb'"\ud800"',
        rb'"\udc00"',
        rb'"\ud800\ud800"',
        rb'"\udc00\ud800"',
        rb'"\ud800x"',
        rb'"\ud800\u0041"',
        rb'{"\ud800":1}',
        b'"\xed\xa0\x80"',
        b'"\xed\xa0\x80\xed\xb0\x80"',
        b'{"\xed\xbf\xbf":1}',
        # Not UTF-8.
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"\xe2\x82"',
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "{}".encode("utf-32"),
        # A byte order mark.
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(NotJson):
        decode(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b' \t\r\n{"a" : [ 1 , null ] }\n', {"a": [1, None]}),
        (b"-0", 0),
        (b"1e5", 100000.0),
        (b"1.0", 1.0),
        (b"9" * 30, 10**30 - 1),
        (b'"\\u0000"', "\0"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\uD83D\uDE00\u00e9\/"', "\U0001f600é/"),
        ('"\ufeff"'.encode(), "\ufeff"),
        ('"\ufffe\uffff"'.encode(), "\ufffe\uffff"),
        (b'"\x7f"', "\x7f"),
    ],
)
def test_what_is_json(data: bytes, value: JsonValue) -> None:
    decoded = decode(data)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize("data", [b"9" * 10**6, b"-" + b"9" * 10**6, b"[" + b"1" * 10**6 + b"]"])
def test_a_million_digits_are_refused_at_once(data: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(BadJson):
        decode(data)
    assert time.perf_counter() - started < 1


def test_a_float_beyond_all_bounds() -> None:
    for data in (b"1e400", b"-1e999999999", b"[1e309]"):
        with pytest.raises(BadJson):
            decode(data)


# Nesting

DEEP: list[Callable[[int], bytes]] = [
    lambda depth: b"[" * depth + b"]" * depth,
    lambda depth: b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1),
    lambda depth: (
        b'[{"a":' * (depth // 2) + b"[]" * (depth % 2) + b"1" * (1 - depth % 2) + b"}]" * (depth // 2)
    ),
    lambda depth: b"[0," * (depth - 1) + b"[]" + b",{}]" * (depth - 1),
]


@pytest.mark.parametrize("nested", DEEP)
def test_nesting_up_to_the_limit(nested: Callable[[int], bytes]) -> None:
    value = decode(nested(MAX_NESTING))
    assert decode(canonical(value)) == value
    check_canonical(value)
    with pytest.raises(BadJson):
        decode(nested(MAX_NESTING + 1))


@pytest.mark.parametrize("nested", DEEP)
@pytest.mark.parametrize("depth", [500, 900, 1000, 10**5])
def test_nesting_far_beyond_the_limit(nested: Callable[[int], bytes], depth: int) -> None:
    with pytest.raises(BadJson):
        decode(nested(depth))


@pytest.mark.parametrize("data", [b"[" * 10**5, b'{"a":' * 10**5, b'{"":[' * 10**5])
def test_brackets_that_never_close(data: bytes) -> None:
    with pytest.raises((BadJson, NotJson)):
        decode(data)


def test_the_limit_does_not_depend_on_the_stack() -> None:
    def at_depth(frames: int) -> JsonValue:
        return at_depth(frames - 1) if frames else decode(DEEP[0](MAX_NESTING))

    assert at_depth(400) == decode(DEEP[0](MAX_NESTING))


def test_many_brackets_are_not_deep() -> None:
    wide = b"[" + b",".join([b'{"a":[]}'] * 10_000) + b"]"
    assert decode(wide) == [{"a": []}] * 10_000
    brackets_in_text = b'"' + b"[{" * 10_000 + b'"'
    assert decode(brackets_in_text) == "[{" * 10_000


# Duplicate keys


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"b":2,"a":3}',
        b'{"":1,"":1}',
        rb'{"a":1,"\u0061":2}',
        rb'{"\u0061":1,"\u0061":2}',
        '{"é":1,"\\u00e9":2}'.encode(),
        rb'{"/":1,"\/":2}',
        b'[[{"x":{"a":1,"a":2}}]]',
        b'{"a":{"x":1},"a":{}}',
        b'{"a":{},"a":{"x":1}}',
        # Colons, raw and escaped, that might hide the loss in a count.
        rb'{"a":"\u003a","a":1}',
        rb'{"a":1,"a":"\u003a"}',
        rb'{"b":"\u003a","a":1,"a":2}',
        rb'{"b":"\u003A\u003a","a":1,"a":2}',
        rb'{"\u003a":1,":":2}',
        rb'{"b":"\\u003a","a":1,"a":2}',
        rb'{"b":"\\\u003a","a":1,"a":2}',
        rb'{"b":"\\u003a\u003a","a":":","a":2}',
        b'{":":1,":":2}',
        b'{"a":":::","a":1}',
    ],
)
def test_duplicate_keys(data: bytes) -> None:
    with pytest.raises(BadJson):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"A":2}',
        b'{"a":{"a":{"a":1}}}',
        b'[{"a":1},{"a":1}]',
        rb'{"a:":"\u003a","b":"\\u003a","c":"\\\u003A","d":"\\\\u003a","\u003a":":"}',
        rb'{"a":"\u0030","b":1}',
        '{"é":1,"e\u0301":2}'.encode(),
        b'{"a\\"b:":1,"c":"\\\\"}',
    ],
)
def test_what_only_looks_like_duplicate_keys(data: bytes) -> None:
    assert decode(data) == standard_json.loads(data)


FRAGMENTS = st.lists(st.sampled_from(["a", ":", '"', "\\", "u003a", "[", "\n", "é"]), max_size=3).map("".join)

# A JSON value whose objects are lists of pairs, so that keys may repeat.
PAIRS = st.recursive(
    st.integers(0, 9) | FRAGMENTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(FRAGMENTS, inner), max_size=4).map(tuple),
    max_leaves=12,
)


class DuplicateKeyError(Exception):
    """Raised by the slow but obvious parser."""


def refuse_duplicates(pairs: list[tuple[str, object]]) -> object:
    if len({key for key, _ in pairs}) != len(pairs):
        raise DuplicateKeyError
    return dict(pairs)


def write(value: object, rng: random.Random) -> str:
    """The JSON text of a value of `PAIRS`, each character escaped or not by chance."""
    if isinstance(value, tuple):
        members = (f"{write(key, rng)} :{write(item, rng)}" for key, item in value)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write(item, rng) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(write_character(letter, rng) for letter in value) + '"'
    return str(value)


def write_character(letter: str, rng: random.Random) -> str:
    escape = f"\\u{ord(letter):04x}" if rng.random() < 0.5 else f"\\u{ord(letter):04X}"
    if letter in '"\\\n':
        return rng.choice([escape, {'"': '\\"', "\\": "\\\\", "\n": "\\n"}[letter]])
    return rng.choice([escape, letter])


@given(value=PAIRS, seed=st.integers())
def test_duplicate_keys_are_found_exactly_where_a_slow_parser_finds_them(value: object, seed: int) -> None:
    text = write(value, random.Random(seed))
    try:
        expected = standard_json.loads(text, object_pairs_hook=refuse_duplicates)
    except DuplicateKeyError:
        with pytest.raises(BadJson):
            decode(text.encode())
    else:
        assert decode(text.encode()) == expected


# The rest


@given(data=st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except (NotJson, BadJson):
        return
    assert decode(encode(value)) == value


@given(value=ALL_VALUES)
def test_encode_round_trip(value: JsonValue) -> None:
    assert decode(encode(value)) == value


def test_encode_keeps_the_order() -> None:
    assert encode({"b": 1, "a": [None, True]}) == b'{"b":1,"a":[null,true]}'


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"{}"', b"true"])
def test_decode_object_wants_an_object(data: bytes) -> None:
    with pytest.raises(BadJson):
        decode_object(data)


def test_decode_object() -> None:
    assert decode_object(b'{"a":{}}') == {"a": {}}
    with pytest.raises(NotJson):
        decode_object(b"{")
