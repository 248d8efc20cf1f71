"""Client-server API, "Push Rules": which of a user's rules decides."""

import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.push_rules import (
    SILENT,
    UNMODIFIED,
    Customisation,
    DefaultChange,
    EventFacts,
    OwnRule,
    RuleKind,
    Ruleset,
    UserFacts,
    evaluate,
    evaluate_room,
)

ALICE = UserID("@alice:example.com")
BOB = UserID("@bob:example.com")
CAROL = UserID("@carol:example.com")
ROOM = RoomID("!room:example.com")


def facts(
    body: str = "hello", *, room_id: str = ROOM, mentions: list[str] | None = None, **more: object
) -> EventFacts:
    content: JsonObject = {"msgtype": "m.text", "body": body}
    if mentions is not None:
        content["m.mentions"] = {"user_ids": list(mentions)}
    return EventFacts(
        event_id=EventID("$event"),
        room_id=RoomID(room_id),
        type=str(more.get("type", "m.room.message")),
        sender=UserID(str(more.get("sender", BOB))),
        state_key=None,
        content=content,
        origin_server_ts=0,
        joined_members=10,
        may_notify=lambda _: False,
    )


def sounding(rule_id: str, sound: str | None = None, **more: object) -> OwnRule:
    """A rule whose outcome tells which rule it was."""
    conditions = more.get("conditions")
    pattern = more.get("pattern")
    return OwnRule(
        rule_id,
        ("notify", {"set_tweak": "sound", "value": sound or rule_id}),
        conditions=conditions if isinstance(conditions, tuple) else None,
        pattern=pattern if isinstance(pattern, str) else None,
        enabled=more.get("enabled", True) is True,
    )


def ruleset(defaults: dict[str, DefaultChange] | None = None, **own: list[OwnRule]) -> Ruleset:
    rules = {RuleKind(kind): tuple(of_kind) for kind, of_kind in own.items()}
    return Ruleset.of(Customisation(own=rules, defaults=defaults or {}))


def sound(rules: Ruleset, event: EventFacts, user_id: UserID = ALICE, name: str | None = None) -> str | None:
    return evaluate(rules, event, UserFacts(user_id, name)).sound


EVERYTHING: dict[str, list[OwnRule]] = {
    "override": [sounding("override")],
    "content": [sounding("content", pattern="hello")],
    "room": [sounding(ROOM, "room")],
    "sender": [sounding(BOB, "sender")],
    "underride": [sounding("underride")],
}


def test_kinds_are_checked_in_their_order() -> None:
    """Override, content, room, sender, underride."""
    kinds = list(EVERYTHING)
    for index, kind in enumerate(kinds):
        rules = ruleset(None, **{later: EVERYTHING[later] for later in kinds[index:]})
        assert sound(rules, facts()) == kind


def test_predefined_rules_come_after_the_users_own_of_their_kind_and_before_the_next() -> None:
    mention = facts(mentions=[ALICE])
    assert sound(ruleset(override=EVERYTHING["override"]), mention) == "override"
    assert sound(ruleset(content=EVERYTHING["content"]), mention) == "default"
    assert sound(ruleset(underride=EVERYTHING["underride"]), facts()) == "underride"
    silent = ruleset({".m.rule.message": DefaultChange(actions=())}, room=[])
    assert evaluate(silent, facts(), UserFacts(ALICE)) == SILENT


def test_the_master_rule_comes_before_everything() -> None:
    rules = ruleset({".m.rule.master": DefaultChange(enabled=True)}, **EVERYTHING)
    assert evaluate(rules, facts(mentions=[ALICE]), UserFacts(ALICE)) == SILENT
    rules = ruleset({".m.rule.master": DefaultChange(enabled=True, actions=("notify",))}, **EVERYTHING)
    assert evaluate(rules, facts(), UserFacts(ALICE)).notify


def test_rules_of_one_kind_go_by_their_order() -> None:
    tea, time_ = sounding("tea", pattern="tea"), sounding("time", pattern="time")
    event = facts("It's time for tea")
    assert sound(ruleset(content=[tea, time_]), event) == "tea"
    assert sound(ruleset(content=[time_, tea]), event) == "time"


def test_disabled_rules_never_match() -> None:
    for kind, rules_of_kind in EVERYTHING.items():
        off = [
            OwnRule(rule.rule_id, rule.actions, pattern=rule.pattern, enabled=False) for rule in rules_of_kind
        ]
        assert sound(ruleset(None, **{kind: off}), facts()) is None
    rules = ruleset({".m.rule.message": DefaultChange(enabled=False)})
    assert evaluate(rules, facts(), UserFacts(ALICE)) == SILENT
    rules = ruleset({".m.rule.is_user_mention": DefaultChange(enabled=False)})
    assert not evaluate(rules, facts(mentions=[ALICE]), UserFacts(ALICE)).highlight


def test_changed_actions_of_predefined_rules_count() -> None:
    rules = ruleset(
        {".m.rule.message": DefaultChange(actions=("notify", {"set_tweak": "sound", "value": "x"}))}
    )
    assert sound(rules, facts()) == "x"


def test_changes_of_rules_that_are_gone_are_ignored() -> None:
    rules = ruleset({".m.rule.roomnotif": DefaultChange(enabled=False)})
    assert rules.to_json(ALICE) == UNMODIFIED.to_json(ALICE)


def test_room_and_sender_rules_match_their_own_only() -> None:
    rules = ruleset(room=EVERYTHING["room"], sender=[sounding("@other:x", "sender")])
    assert sound(rules, facts()) == "room"
    assert sound(rules, facts(room_id="!Room:example.com")) is None
    assert sound(rules, facts(room_id="!other:x", sender="@other:x")) == "sender"


def test_all_conditions_must_hold() -> None:
    """The specification's example: beer in rooms with ten members or fewer."""
    body: JsonObject = {"kind": "event_match", "key": "content.body", "pattern": "beer"}
    few: JsonObject = {"kind": "room_member_count", "is": "<=10"}
    many: JsonObject = {"kind": "room_member_count", "is": ">10"}
    unknown: JsonObject = {"kind": "moon_phase"}
    for conditions, matches in [
        ((body, few), True),
        ((body, many), False),
        ((body, few, unknown), False),
        ((), True),
    ]:
        rules = ruleset(override=[sounding("beer", conditions=conditions)])
        assert sound(rules, facts("a beer, please")) == ("beer" if matches else None)


def in_room(rule_id: str, room_id: str) -> OwnRule:
    condition: JsonObject = {"kind": "event_match", "key": "room_id", "pattern": room_id}
    return sounding(rule_id, conditions=(condition,))


ORDERS = st.permutations(
    [
        in_room("here", ROOM),
        in_room("HERE", ROOM.upper()),
        in_room("there", "!there:x"),
        in_room("pattern", "!room*"),
        sounding("body", conditions=({"kind": "event_match", "key": "content.body", "pattern": "hello"},)),
        sounding("any", conditions=()),
    ]
)


@given(ORDERS, st.sampled_from([ROOM, "!there:x", "!roomy:x", "!other:x"]), st.sampled_from(["hello", "bye"]))
def test_rules_that_name_their_room_keep_their_place(order: list[OwnRule], room_id: str, body: str) -> None:
    """They are kept apart, for the sake of those who mute hundreds of rooms."""
    event = facts(body, room_id=room_id)
    user = UserFacts(ALICE)
    expected = next(rule.rule_id for rule in order if rule.compiled(RuleKind.OVERRIDE).matches(event, user))
    assert sound(ruleset(override=order), event) == expected
    assert sound(ruleset(underride=order), event) == expected


def test_the_json_form_has_all_rules_in_order() -> None:
    rules = ruleset(
        {".m.rule.suppress_edits": DefaultChange(enabled=False)},
        override=[sounding("one", conditions=({"kind": "x", "y": [1]},)), sounding("two", conditions=())],
        content=[sounding("cake", pattern="cake", enabled=False)],
        room=EVERYTHING["room"],
    ).to_json(ALICE)
    override = rules["override"]
    assert isinstance(override, list)
    ids = [rule["rule_id"] for rule in override if isinstance(rule, dict)]
    assert ids[:4] == [".m.rule.master", "one", "two", ".m.rule.suppress_notices"]
    assert override[1] == {
        "rule_id": "one",
        "default": False,
        "enabled": True,
        "conditions": [{"kind": "x", "y": [1]}],
        "actions": ["notify", {"set_tweak": "sound", "value": "one"}],
    }
    assert isinstance(override[-1], dict)
    assert override[-1]["enabled"] is False
    assert rules["content"] == [
        {
            "rule_id": "cake",
            "default": False,
            "enabled": False,
            "pattern": "cake",
            "actions": ["notify", {"set_tweak": "sound", "value": "cake"}],
        }
    ]
    assert rules["room"] == [
        {
            "rule_id": ROOM,
            "default": False,
            "enabled": True,
            "actions": ["notify", {"set_tweak": "sound", "value": "room"}],
        }
    ]


# A whole room


DISPLAY_NAME = sounding("name", conditions=({"kind": "contains_display_name"},))
RULESETS = [
    UNMODIFIED,
    ruleset(content=[sounding("hello", pattern="hello")]),
    ruleset({".m.rule.is_user_mention": DefaultChange(enabled=False)}),
    ruleset({".m.rule.master": DefaultChange(enabled=True)}),
    ruleset(underride=[DISPLAY_NAME]),
    ruleset(override=[in_room("muted", ROOM)]),
]
USERS = [UserID(f"@user{number}:example.com") for number in range(6)]
NAMES: Mapping[UserID, str] = {user_id: f"user{number}" for number, user_id in enumerate(USERS)}


@given(
    st.sets(st.sampled_from(USERS)),
    st.dictionaries(st.sampled_from(USERS), st.sampled_from(RULESETS)),
    st.lists(st.sampled_from([*USERS, "", "@remote:x", "nonsense"]), max_size=4),
    st.sampled_from(["hello", "hi user1 and user2", ""]),
    st.sampled_from(USERS),
    st.sampled_from(["m.room.message", "m.room.encrypted", "m.reaction"]),
)
def test_a_room_is_evaluated_as_each_of_its_users_would_be(
    members: set[UserID],
    rules: dict[UserID, Ruleset],
    mentions: list[str],
    body: str,
    sender: UserID,
    type: str,
) -> None:
    customised = {user_id: own for user_id, own in rules.items() if user_id in members}
    event = facts(body, mentions=mentions, sender=sender, type=type)
    result = evaluate_room(event, members=members, customised=customised, display_name=NAMES.get)
    assert result.individual.keys() <= members
    for user_id in members:
        user = UserFacts(user_id, NAMES[user_id])
        assert result.of(user_id) == evaluate(customised.get(user_id, UNMODIFIED), event, user)


def test_an_invitation_is_for_the_invited_only() -> None:
    event = EventFacts(
        event_id=EventID("$event"),
        room_id=ROOM,
        type="m.room.member",
        sender=BOB,
        state_key=ALICE,
        content={"membership": "invite"},
        origin_server_ts=0,
        joined_members=2,
        may_notify=lambda _: False,
    )
    result = evaluate_room(event, members={ALICE, BOB, CAROL}, customised={}, display_name=lambda _: None)
    assert result.of(ALICE).notify
    assert not result.of(CAROL).notify
    assert set(result.individual) == {ALICE, BOB}


def test_display_names_are_asked_for_only_where_a_rule_needs_them() -> None:
    asked: list[UserID] = []

    def display_name(user_id: UserID) -> str:
        asked.append(user_id)
        return "Carol"

    customised = {ALICE: RULESETS[1], CAROL: RULESETS[4]}
    result = evaluate_room(
        facts("hi carol"), members={ALICE, CAROL}, customised=customised, display_name=display_name
    )
    assert asked == [CAROL]
    assert result.of(CAROL).sound == "name"


def test_the_members_of_a_large_room_cost_nothing() -> None:
    class Members:
        """A room with so many members that nobody can go through them."""

        asked = 0

        def __contains__(self, user_id: object) -> bool:
            self.asked += 1
            return True

    members = Members()
    result = evaluate_room(
        facts(mentions=[ALICE, CAROL]), members=members, customised={}, display_name=lambda _: None
    )
    assert members.asked <= 3
    assert set(result.individual) == {ALICE, BOB, CAROL}
    assert result.of(UserID("@someone:else")) == result.base


def test_the_worst_rules_that_are_allowed_do_not_stall_a_room() -> None:
    body = ("a" * 50 + "b") * 1280
    nasty = [sounding(f"r{number}", pattern="a?" * 7 + "a?b?b*") for number in range(500)]
    rules = ruleset(content=nasty)
    event = facts(body)
    started = time.perf_counter()
    assert sound(rules, event) is None
    # Measured: 20 ms.
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize("mentioned", [0, 1, 2_000])
def test_many_mentions_change_nothing_for_others(mentioned: int) -> None:
    mentions = [f"@user{number}:example.com" for number in range(mentioned)]
    event = facts(mentions=mentions)
    result = evaluate_room(event, members=set[UserID](), customised={}, display_name=lambda _: None)
    assert result.individual == {}
    assert result.base.bits == 1
