"""Client-server API, "Predefined Rules": the list of v1.19, word by word."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.push_rules import (
    DEFAULTS,
    UNMODIFIED,
    EventFacts,
    Outcome,
    RuleKind,
    UserFacts,
    default_outcome,
    evaluate,
)

ALICE = UserID("@alice:example.com")
BOB = UserID("@bob:example.com")

OVERRIDES: list[JsonObject] = [
    {"rule_id": ".m.rule.master", "default": True, "enabled": False, "conditions": [], "actions": []},
    {
        "rule_id": ".m.rule.suppress_notices",
        "default": True,
        "enabled": True,
        "conditions": [{"kind": "event_match", "key": "content.msgtype", "pattern": "m.notice"}],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.invite_for_me",
        "default": True,
        "enabled": True,
        "conditions": [
            {"key": "type", "kind": "event_match", "pattern": "m.room.member"},
            {"key": "content.membership", "kind": "event_match", "pattern": "invite"},
            {"key": "state_key", "kind": "event_match", "pattern": "[the user's Matrix ID]"},
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}],
    },
    {
        "rule_id": ".m.rule.member_event",
        "default": True,
        "enabled": True,
        "conditions": [{"key": "type", "kind": "event_match", "pattern": "m.room.member"}],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.is_user_mention",
        "default": True,
        "enabled": True,
        "conditions": [
            {
                "kind": "event_property_contains",
                "key": "content.m\\.mentions.user_ids",
                "value": "[the user's Matrix ID]",
            }
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}],
    },
    {
        "rule_id": ".m.rule.is_room_mention",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_property_is", "key": "content.m\\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        "actions": ["notify", {"set_tweak": "highlight"}],
    },
    {
        "rule_id": ".m.rule.tombstone",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_match", "key": "type", "pattern": "m.room.tombstone"},
            {"kind": "event_match", "key": "state_key", "pattern": ""},
        ],
        "actions": ["notify", {"set_tweak": "highlight"}],
    },
    {
        "rule_id": ".m.rule.reaction",
        "default": True,
        "enabled": True,
        "conditions": [{"kind": "event_match", "key": "type", "pattern": "m.reaction"}],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.room.server_acl",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_match", "key": "type", "pattern": "m.room.server_acl"},
            {"kind": "event_match", "key": "state_key", "pattern": ""},
        ],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.suppress_edits",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_property_is", "key": "content.m\\.relates_to.rel_type", "value": "m.replace"}
        ],
        "actions": [],
    },
]

UNDERRIDES: list[JsonObject] = [
    {
        "rule_id": ".m.rule.call",
        "default": True,
        "enabled": True,
        "conditions": [{"key": "type", "kind": "event_match", "pattern": "m.call.invite"}],
        "actions": ["notify", {"set_tweak": "sound", "value": "ring"}],
    },
    {
        "rule_id": ".m.rule.encrypted_room_one_to_one",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "room_member_count", "is": "2"},
            {"kind": "event_match", "key": "type", "pattern": "m.room.encrypted"},
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}],
    },
    {
        "rule_id": ".m.rule.room_one_to_one",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "room_member_count", "is": "2"},
            {"kind": "event_match", "key": "type", "pattern": "m.room.message"},
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}],
    },
    {
        "rule_id": ".m.rule.message",
        "default": True,
        "enabled": True,
        "conditions": [{"kind": "event_match", "key": "type", "pattern": "m.room.message"}],
        "actions": ["notify"],
    },
    {
        "rule_id": ".m.rule.encrypted",
        "default": True,
        "enabled": True,
        "conditions": [{"kind": "event_match", "key": "type", "pattern": "m.room.encrypted"}],
        "actions": ["notify"],
    },
]


def for_user(rules: list[JsonObject], user_id: str) -> Any:
    return json.loads(json.dumps(rules).replace("[the user's Matrix ID]", user_id))


def test_the_rules_are_those_of_the_specification_in_its_order() -> None:
    rules = UNMODIFIED.to_json(ALICE)
    assert rules == {
        "override": for_user(OVERRIDES, ALICE),
        "content": [],
        "room": [],
        "sender": [],
        "underride": for_user(UNDERRIDES, ALICE),
    }
    # Equality of dicts ignores order, and the order of kinds is that in which they are checked.
    assert list(rules) == ["override", "content", "room", "sender", "underride"]
    assert len(DEFAULTS) == 15
    assert all(rule_id.startswith(".") for rule_id in DEFAULTS)


def test_each_user_sees_their_own_id() -> None:
    assert ALICE in json.dumps(UNMODIFIED.to_json(ALICE))
    assert ALICE not in json.dumps(UNMODIFIED.to_json(BOB))
    assert "[the user" not in json.dumps(UNMODIFIED.to_json(BOB))


@pytest.mark.parametrize("legacy", ["contains_display_name", "contains_user_name", "roomnotif"])
def test_the_legacy_mention_rules_are_gone(legacy: str) -> None:
    """Removed in v1.17."""
    assert not any(legacy in rule_id for rule_id in DEFAULTS)


def facts(
    type: str = "m.room.message",
    content: JsonObject | None = None,
    *,
    state_key: str | None = None,
    sender: str = BOB,
    joined_members: int = 10,
    may_notify: Callable[[str], bool] = lambda _: False,
) -> EventFacts:
    return EventFacts(
        event_id=EventID("$event"),
        room_id=RoomID("!room:example.com"),
        type=type,
        sender=UserID(sender),
        state_key=state_key,
        content={"msgtype": "m.text", "body": "Hello"} if content is None else content,
        origin_server_ts=0,
        joined_members=joined_members,
        may_notify=may_notify,
    )


def outcome(
    notify: str = "", sound: str | None = None, *, highlight: bool = False
) -> tuple[bool, bool, str | None]:
    return (bool(notify), highlight, sound)


def alices(event: EventFacts) -> tuple[bool, bool, str | None]:
    result = evaluate(UNMODIFIED, event, UserFacts(ALICE))
    return (result.notify, result.highlight, result.sound)


MENTION: JsonObject = {"user_ids": [BOB, ALICE]}
SILENCE = outcome()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (facts(), outcome("notify")),
        (facts(joined_members=2), outcome("notify", "default")),
        (facts(joined_members=1), outcome("notify")),
        (facts("m.room.encrypted", {}), outcome("notify")),
        (facts("m.room.encrypted", {}, joined_members=2), outcome("notify", "default")),
        (facts("m.call.invite", {}), outcome("notify", "ring")),
        (facts(content={"msgtype": "m.notice", "body": "x"}), SILENCE),
        (facts(content={"msgtype": "m.notice", "body": "x", "m.mentions": MENTION}), SILENCE),
        (facts("m.room.member", {"membership": "invite"}, state_key=ALICE), outcome("notify", "default")),
        (facts("m.room.member", {"membership": "invite"}, state_key="@carol:x"), SILENCE),
        (facts("m.room.member", {"membership": "join"}, state_key=ALICE), SILENCE),
        (facts("m.room.member", {"membership": "invite"}), SILENCE),
        (facts(content={"body": "x", "m.mentions": MENTION}), outcome("notify", "default", highlight=True)),
        (facts("org.x", {"m.mentions": MENTION}), outcome("notify", "default", highlight=True)),
        (facts(content={"body": "x", "m.mentions": {"user_ids": ALICE}}), outcome("notify")),
        (facts(content={"body": "x", "m.mentions": {"user_ids": ["@ALICE:example.com"]}}), outcome("notify")),
        (facts(content={"body": "x", "m.mentions": [ALICE]}), outcome("notify")),
        (facts(content={"body": "alice @alice:example.com", "m.mentions": {}}), outcome("notify")),
        (facts(content={"body": "x", "m.mentions": {"room": True}}), outcome("notify")),
        (
            facts(content={"body": "x", "m.mentions": {"room": True}}, may_notify=lambda key: key == "room"),
            outcome("notify", highlight=True),
        ),
        (facts(content={"m.mentions": {"room": 1}}, may_notify=lambda _: True), outcome("notify")),
        (facts(content={"m.mentions": {"room": "true"}}, may_notify=lambda _: True), outcome("notify")),
        (facts(content={"body": "@room"}, may_notify=lambda _: True), outcome("notify")),
        (facts("m.room.tombstone", {}, state_key=""), outcome("notify", highlight=True)),
        (facts("m.room.tombstone", {}, state_key="x"), SILENCE),
        (facts("m.room.tombstone", {}), SILENCE),
        (facts("m.reaction", {}), SILENCE),
        (facts("m.room.server_acl", {}, state_key=""), SILENCE),
        (facts(content={"body": "* x", "m.relates_to": {"rel_type": "m.replace"}}), SILENCE),
        # A mention that an edit adds comes before the rule that suppresses edits.
        (
            facts(content={"m.relates_to": {"rel_type": "m.replace"}, "m.mentions": MENTION}),
            outcome("notify", "default", highlight=True),
        ),
        (facts("m.room.topic", {"topic": "x"}, state_key=""), SILENCE),
        (facts("org.example.custom", {}), SILENCE),
    ],
)
def test_what_they_do(event: EventFacts, expected: tuple[bool, bool, str | None]) -> None:
    assert alices(event) == expected


def test_nobody_is_notified_of_what_they_sent() -> None:
    assert alices(facts(sender=ALICE)) == SILENCE
    assert alices(facts("m.room.tombstone", {}, state_key="", sender=ALICE)) == SILENCE


def test_nobody_is_looked_for_who_cannot_be() -> None:
    mentions: JsonObject = {"user_ids": ["@a\0:x", "\0", 5, None, ALICE]}
    assert facts(content={"m.mentions": mentions}).singled_out() == {ALICE}


@pytest.mark.parametrize(
    "content", [{"body": "x"}, {"body": "x", "m.mentions": MENTION}, {"msgtype": "m.notice"}]
)
def test_who_is_not_singled_out_gets_the_default_outcome(content: JsonObject) -> None:
    event = facts(content=content)
    assert default_outcome(event) == evaluate(UNMODIFIED, event, UserFacts(UserID("@carol:x")))


@pytest.mark.parametrize(
    ("actions", "tweaks", "bits"),
    [
        (["notify"], {}, 1),
        ([], {}, 0),
        (["notify", {"set_tweak": "highlight"}], {"highlight": True}, 3),
        (["notify", {"set_tweak": "highlight", "value": True}], {"highlight": True}, 3),
        (["notify", {"set_tweak": "highlight", "value": False}], {"highlight": False}, 1),
        (["notify", {"set_tweak": "sound", "value": "bing"}], {"sound": "bing"}, 1),
        (["notify", {"set_tweak": "org.x", "value": {"a": 1}}], {"org.x": {"a": 1}}, 1),
        ([{"set_tweak": "highlight"}], {"highlight": True}, 0),
        (["notify", {"set_tweak": "sound"}, {"other": 1}, 7, None], {}, 1),
        (["dont_notify"], {}, 0),
        (["coalesce"], {}, 0),
        (["notify", "coalesce"], {}, 1),
    ],
)
def test_actions(actions: list[JsonValue], tweaks: JsonObject, bits: int) -> None:
    result = Outcome.of(actions)
    assert (result.tweaks, result.bits) == (tweaks, bits)
    # "A rule with ["dont_notify"] actions MUST be equivalent to a rule with an empty actions array."
    assert "dont_notify" not in result.actions
    assert "coalesce" not in result.actions


def test_rules_are_found_by_kind_and_id() -> None:
    master = UNMODIFIED.rule(RuleKind.OVERRIDE, ".m.rule.master")
    assert master is not None
    assert not master.enabled
    assert UNMODIFIED.rule(RuleKind.CONTENT, ".m.rule.master") is None
    assert UNMODIFIED.rule(RuleKind.OVERRIDE, "other") is None
