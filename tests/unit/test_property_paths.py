"""Appendices, "Dot-separated property paths"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.property_paths import MISSING, parse_path, property_at


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to", ("content", "m.relates_to")),
        (r"content.m\\foo", ("content", "m\\foo")),
        (r"content.m\xfoo", ("content", "m\\xfoo")),
        (r"content.m\\.foo", ("content", "m\\", "foo")),
        (r"content.m\\\.foo", ("content", "m\\.foo")),
        ("type", ("type",)),
        ("", ("",)),
        (".", ("", "")),
        ("a..b", ("a", "", "b")),
        ("a.", ("a", "")),
        ("a\\", ("a\\",)),
    ],
)
def test_paths(text: str, names: tuple[str, ...]) -> None:
    assert parse_path(text) == names


def escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(".", "\\.")


@given(st.lists(st.text(st.sampled_from("ab.\\x")), min_size=1, max_size=5))
def test_escaped_names_come_back(names: list[str]) -> None:
    assert parse_path(".".join(escaped(name) for name in names)) == tuple(names)


def test_long_paths_are_read_in_no_time() -> None:
    assert len(parse_path("a\\." * 50_000)) == 1
    assert len(parse_path("." * 50_000)) == 50_001


EVENT: JsonObject = {
    "type": "m.room.message",
    "content": {
        "m.relates_to": {"rel_type": "m.thread"},
        "m": {"relates_to": 1},
        "nothing": None,
        "": {"": 7},
    },
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("type", "m.room.message"),
        (r"content.m\.relates_to.rel_type", "m.thread"),
        ("content.m.relates_to", 1),
        ("content.nothing", None),
        ("content..", 7),
        ("content.missing", MISSING),
        ("content.nothing.more", MISSING),
        ("type.more", MISSING),
        ("content.m.relates_to.x", MISSING),
    ],
)
def test_properties(text: str, value: JsonValue) -> None:
    assert property_at(EVENT, parse_path(text)) == value


def test_arrays_have_no_properties() -> None:
    assert property_at({"a": [{"b": 1}]}, ("a", "0", "b")) is MISSING
    assert property_at({"a": [1]}, ("a", "0")) is MISSING
