"""Which relationships count."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.relations import Relation, Relative, annotation_key, is_sound, is_valid, relation_of

ALICE, BOB = "@alice:x", "@bob:x"
MESSAGE = "m.room.message"

ORIGINAL = Relative(MESSAGE, ALICE, is_state=False, rel_type=None)
EDIT = Relative(MESSAGE, ALICE, is_state=False, rel_type="m.replace")

relatives = st.builds(
    Relative,
    st.sampled_from([MESSAGE, "m.room.encrypted", "m.room.topic"]),
    st.sampled_from([ALICE, BOB]),
    is_state=st.booleans(),
    rel_type=st.sampled_from([None, "m.replace", "m.annotation", "m.thread", "m.reference", "org.example"]),
    is_sound=st.booleans(),
)


def test_an_edit_by_the_rules() -> None:
    assert is_valid(ORIGINAL, EDIT)


@pytest.mark.parametrize(
    "broken",
    [
        {"sender": BOB},
        {"type": "m.room.encrypted"},
        {"is_state": True},
        {"is_sound": False},
    ],
)
def test_an_edit_against_one_rule(broken: dict[str, Any]) -> None:
    assert not is_valid(ORIGINAL, msgspec.structs.replace(EDIT, **broken))


@pytest.mark.parametrize("broken", [{"is_state": True}, {"rel_type": "m.replace"}])
def test_what_cannot_be_edited(broken: dict[str, Any]) -> None:
    assert not is_valid(msgspec.structs.replace(ORIGINAL, **broken), EDIT)


@pytest.mark.parametrize("rel_type", ["m.thread", "m.reference", "m.annotation", "org.example"])
def test_what_relates_in_other_ways_can_be_edited(rel_type: str) -> None:
    assert is_valid(msgspec.structs.replace(ORIGINAL, rel_type=rel_type), EDIT)


@given(relatives, relatives)
def test_the_rules_of_each_type(parent: Relative, child: Relative) -> None:
    """As the specification's lists have them."""
    expected = {
        "m.replace": (
            child.sender == parent.sender
            and child.type == parent.type
            and not (child.is_state or parent.is_state)
            and parent.rel_type != "m.replace"
            and child.is_sound
        ),
        "m.annotation": parent.rel_type not in {"m.annotation", "m.replace"},
        "m.thread": parent.rel_type is None,
    }
    assert is_valid(parent, child) is expected.get(child.rel_type or "", True)


@pytest.mark.parametrize(
    ("type", "content", "is_state", "expected"),
    [
        (MESSAGE, {"m.new_content": {}}, False, True),
        (MESSAGE, {"m.new_content": {"body": "x"}}, True, False),
        (MESSAGE, {}, False, False),
        (MESSAGE, {"m.new_content": None}, False, False),
        (MESSAGE, {"m.new_content": "x"}, False, False),
        ("m.room.encrypted", {}, False, True),
        ("m.room.encrypted", {}, True, False),
    ],
)
def test_new_content(type: str, content: Any, is_state: bool, expected: bool) -> None:
    assert is_sound(type, content, is_state=is_state) is expected


def test_relations() -> None:
    relates_to: Any = {"rel_type": "m.thread", "event_id": "$a", "m.in_reply_to": {"event_id": "$b"}}
    assert relation_of({"m.relates_to": relates_to}) == Relation("m.thread", "$a")  # type: ignore[arg-type]  # what the test wants to be taken
    for broken in ({"rel_type": "a\0"}, {"rel_type": "x" * 256}, {"event_id": "a"}, {"event_id": "$" * 256}):
        assert relation_of({"m.relates_to": relates_to | broken}) is None


def test_keys_differ_as_their_texts_do() -> None:
    texts = ["", "\0", "a", "A", "a\0", "\u00e9", "e\u0301", "👍", "👍🏽", "x" * 10_000, "x" * 10_001]
    keys = [annotation_key({"m.relates_to": {"key": text}}) for text in texts]
    assert keys == [annotation_key({"m.relates_to": {"key": text}}) for text in texts]
    assert all(key is not None and len(key) == 16 for key in keys)
    assert all(one != other for one, other in itertools.combinations(keys, 2))


@pytest.mark.parametrize(
    "content", [{}, {"m.relates_to": 5}, {"m.relates_to": {}}, {"m.relates_to": {"key": 5}}]
)
def test_without_a_key(content: Any) -> None:
    assert annotation_key(content) is None
