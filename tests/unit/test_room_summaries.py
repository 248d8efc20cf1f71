from typing import Any

import pytest

from homeserver.core.room_summaries import KEYS, RoomSummary


def summary(**contents: Any) -> RoomSummary:
    return RoomSummary.of({(f"m.room.{name}", ""): content for name, content in contents.items()})


def test_an_empty_state_says_little() -> None:
    assert summary().to_json() == {"join_rule": "invite", "guest_can_join": False, "world_readable": False}


def test_everything_that_the_directory_tells() -> None:
    everything: dict[str, Any] = {
        "create": {"type": "m.space"},
        "name": {"name": "Pub"},
        "topic": {"topic": "Beer"},
        "avatar": {"url": "mxc://a/b"},
        "canonical_alias": {"alias": "#pub:a"},
        "join_rules": {"join_rule": "public"},
        "guest_access": {"guest_access": "can_join"},
        "history_visibility": {"history_visibility": "world_readable"},
    }
    assert {f"m.room.{name}" for name in everything} == {key[0] for key in KEYS}
    assert summary(**everything).to_json() == {
        "room_type": "m.space",
        "name": "Pub",
        "topic": "Beer",
        "avatar_url": "mxc://a/b",
        "canonical_alias": "#pub:a",
        "join_rule": "public",
        "guest_can_join": True,
        "world_readable": True,
    }


@pytest.mark.parametrize("junk", [None, "", 5, [], {}, ["x"], {"x": "y"}, True])
def test_junk_counts_as_absent(junk: object) -> None:
    fields = {
        "create": "type",
        "name": "name",
        "topic": "topic",
        "avatar": "url",
        "canonical_alias": "alias",
        "join_rules": "join_rule",
        "guest_access": "guest_access",
        "history_visibility": "history_visibility",
    }
    assert summary(**{name: {field: junk} for name, field in fields.items()}) == summary()


@pytest.mark.parametrize(
    ("content", "topic"),
    [
        ({"topic": "old"}, "old"),
        ({"topic": "old", "m.topic": {"m.text": [{"body": "new"}]}}, "new"),
        (
            {"m.topic": {"m.text": [{"mimetype": "text/html", "body": "<b>x</b>"}, {"body": "plain"}]}},
            "plain",
        ),
        ({"topic": "old", "m.topic": {"m.text": [{"mimetype": "text/html", "body": "<b>x</b>"}]}}, "old"),
        ({"m.topic": {"m.text": [{"mimetype": "text/html", "body": "<b>x</b>"}]}}, None),
        ({"topic": "old", "m.topic": {"m.text": [{"body": ""}]}}, "old"),
        ({"topic": "old", "m.topic": {"m.text": "x"}}, "old"),
        ({"topic": "old", "m.topic": [1]}, "old"),
        ({"topic": "old", "m.topic": {"m.text": [1, None, {"body": 2}]}}, "old"),
    ],
)
def test_the_topic_is_its_plain_text(content: Any, topic: str | None) -> None:
    assert summary(topic=content).topic == topic
