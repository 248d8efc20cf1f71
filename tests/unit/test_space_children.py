"""The children of a space. Client-server API, "Ordering of children within a space"."""

from typing import Any

import pytest

from homeserver.core.space_children import SpaceChild, in_order


def child(room_id: str, ts: int = 0, **content: Any) -> dict[str, Any]:
    return {
        "type": "m.space.child",
        "state_key": room_id,
        "sender": "@a:x",
        "origin_server_ts": ts,
        "content": {"via": ["x"], **content},
        "depth": 7,
    }


def test_a_child_as_it_is_told_of() -> None:
    found = SpaceChild.of(child("!a:x", 5, suggested=True, order="b"))
    assert found is not None
    assert (found.room_id, found.via, found.is_suggested, found.order) == ("!a:x", ("x",), True, "b")
    assert found.stripped == {
        "type": "m.space.child",
        "state_key": "!a:x",
        "sender": "@a:x",
        "origin_server_ts": 5,
        "content": {"via": ["x"], "suggested": True, "order": "b"},
    }


@pytest.mark.parametrize(
    "pdu",
    [
        child("!a:x", via=[]),
        child("!a:x", via="x"),
        child("!a:x", via=["x", 1]),
        child("!a:x", via=None),
        {**child("!a:x"), "content": {}},
        {**child("!a:x"), "content": []},
        child("#a:x"),
        child(""),
        {**child("!a:x"), "state_key": None},
    ],
)
def test_what_names_no_child(pdu: dict[str, Any]) -> None:
    assert SpaceChild.of(pdu) is None


@pytest.mark.parametrize("order", [1, "", "x" * 51, "é", "a\nb", None])
def test_an_order_that_is_none(order: object) -> None:
    found = SpaceChild.of(child("!a:x", order=order))
    assert found is not None
    assert found.order is None


def test_the_example_of_the_specification() -> None:
    listed = [
        child("!b:x", 1640341000000, order=" "),
        child("!a:x", 1640141000000, order="aaaa"),
        child("!c:x", 1640841000000, order="first"),
        child("!e:x", 1640641000000),
        child("!d:x", 1640741000000),
    ]
    read = [found for pdu in reversed(listed) if (found := SpaceChild.of(pdu)) is not None]
    assert [each.room_id for each in in_order(read)] == ["!b:x", "!a:x", "!c:x", "!e:x", "!d:x"]


def test_ties() -> None:
    listed = [child("!b:x", 2, order="a"), child("!c:x", 1, order="a"), child("!d:x", 1), child("!a:x", 1)]
    read = [found for pdu in listed if (found := SpaceChild.of(pdu)) is not None]
    assert [each.room_id for each in in_order(read)] == ["!c:x", "!b:x", "!a:x", "!d:x"]
