"""Client-server API, "Push Rules: API": adding, moving, changing and removing rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import InvalidParam, MatrixError, MissingParam, NotFound, TooLarge, Unknown
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.push_rules import (
    DEFAULTS,
    UNMODIFIED,
    Customisation,
    RuleKind,
    Ruleset,
    check_actions,
    new_rule,
)

ALICE = UserID("@alice:example.com")
CONTENT, OVERRIDE, ROOM, SENDER = RuleKind.CONTENT, RuleKind.OVERRIDE, RuleKind.ROOM, RuleKind.SENDER


def with_rules(*rule_ids: str) -> Customisation:
    """Room rules in this order, the most important first."""
    customisation = Customisation()
    for rule_id in reversed(rule_ids):
        customisation = customisation.with_rule(ROOM, new_rule(ROOM, rule_id, actions=[]))
    return customisation


def ids(customisation: Customisation, kind: RuleKind = ROOM) -> list[str]:
    return [rule.rule_id for rule in customisation.own.get(kind, ())]


def test_new_rules_are_the_most_important_of_their_kind() -> None:
    assert ids(with_rules("a", "b", "c")) == ["a", "b", "c"]
    both = with_rules("a").with_rule(SENDER, new_rule(SENDER, "b", actions=[]))
    assert ids(both) == ["a"]
    assert ids(both, SENDER) == ["b"]


@pytest.mark.parametrize(
    ("rule_id", "before", "after", "expected"),
    [
        ("x", "a", None, ["x", "a", "b", "c"]),
        ("x", "c", None, ["a", "b", "x", "c"]),
        ("x", None, "a", ["a", "x", "b", "c"]),
        ("x", None, "c", ["a", "b", "c", "x"]),
        # "If both are provided, the rule must be the next most important with respect to `before`."
        ("x", "b", "c", ["a", "x", "b", "c"]),
        ("x", "c", "a", ["a", "b", "x", "c"]),
        # A rule that is there stays, unless it is told to move.
        ("b", None, None, ["a", "b", "c"]),
        ("c", "a", None, ["c", "a", "b"]),
        ("a", None, "b", ["b", "a", "c"]),
        ("a", "c", None, ["b", "a", "c"]),
        ("a", None, "c", ["b", "c", "a"]),
    ],
)
def test_places(rule_id: str, before: str | None, after: str | None, expected: list[str]) -> None:
    rule = new_rule(ROOM, rule_id, actions=["notify"])
    changed = with_rules("a", "b", "c").with_rule(ROOM, rule, before=before, after=after)
    assert ids(changed) == expected
    assert next(own for own in changed.own[ROOM] if own.rule_id == rule_id).actions == ("notify",)


@pytest.mark.parametrize("reference", ["missing", ".m.rule.master", "x"])
def test_unknown_references_are_an_error(reference: str) -> None:
    rules = with_rules("a", "x")
    rule = new_rule(ROOM, "x", actions=[])
    for place in ({"before": reference}, {"after": reference}, {"before": "a", "after": reference}):
        with pytest.raises(Unknown, match=f"before/after rule not found: {reference}"):
            rules.with_rule(ROOM, rule, **place)


def test_rules_are_created_enabled_and_stay_disabled_when_updated() -> None:
    rules = with_rules("a")
    assert rules.own[ROOM][0].enabled
    rules = rules.with_enabled(ROOM, "a", enabled=False)
    assert not rules.own[ROOM][0].enabled
    rules = rules.with_rule(ROOM, new_rule(ROOM, "a", actions=["notify"]))
    assert not rules.own[ROOM][0].enabled
    assert rules.own[ROOM][0].actions == ("notify",)
    assert rules.with_enabled(ROOM, "a", enabled=True).own[ROOM][0].enabled


def test_rules_are_removed() -> None:
    rules = with_rules("a", "b")
    assert ids(rules.without_rule(ROOM, "a")) == ["b"]
    assert rules.without_rule(ROOM, "a").without_rule(ROOM, "b") == Customisation()


@pytest.mark.parametrize("kind", [ROOM, CONTENT])
def test_what_is_not_there_is_not_found(kind: RuleKind) -> None:
    rules = with_rules("a")
    for rule_id in ("b", ".m.rule.master", ".m.rule.none"):
        with pytest.raises(NotFound):
            rules.without_rule(kind, rule_id)
        with pytest.raises(NotFound):
            rules.with_enabled(kind, rule_id, enabled=True)
        with pytest.raises(NotFound):
            rules.with_actions(kind, rule_id, [])


def test_predefined_rules_cannot_be_removed() -> None:
    with pytest.raises(InvalidParam):
        Customisation().without_rule(OVERRIDE, ".m.rule.master")


@pytest.mark.parametrize("rule_id", DEFAULTS)
def test_predefined_rules_are_changed_and_changed_back(rule_id: str) -> None:
    default = DEFAULTS[rule_id]
    changed = Customisation().with_enabled(default.kind, rule_id, enabled=not default.enabled)
    changed = changed.with_actions(default.kind, rule_id, ["notify", {"set_tweak": "x", "value": 1}])
    rule = Ruleset.of(changed).rule(default.kind, rule_id)
    assert rule is not None
    assert rule.enabled is not default.enabled
    assert rule.outcome.tweaks == {"x": 1}
    assert rule.is_default
    back = changed.with_enabled(default.kind, rule_id, enabled=default.enabled)
    assert back.with_actions(default.kind, rule_id, default.outcome.actions) == Customisation()


def test_stored_customisations_come_back() -> None:
    conditions: list[JsonObject] = [
        {"kind": "event_match", "key": "type", "pattern": "x"},
        {"kind": "?", "y": [{}]},
    ]
    rules = (
        with_rules("a", "b")
        .with_rule(CONTENT, new_rule(CONTENT, "c", actions=[{"set_tweak": "x", "value": None}], pattern="ü*"))
        .with_rule(OVERRIDE, new_rule(OVERRIDE, "d", actions=["notify"], conditions=conditions))
        .with_enabled(ROOM, "b", enabled=False)
        .with_enabled(OVERRIDE, ".m.rule.master", enabled=True)
        .with_actions(RuleKind.UNDERRIDE, ".m.rule.message", [])
    )
    back = Customisation.from_bytes(rules.to_bytes())
    assert back == rules
    assert Ruleset.of(back).to_json(ALICE) == Ruleset.of(rules).to_json(ALICE)
    assert Ruleset.of(Customisation.from_bytes(Customisation().to_bytes())).to_json(
        ALICE
    ) == UNMODIFIED.to_json(ALICE)


@given(st.permutations(["enable", "room", "content"]))
def test_equal_customisations_are_stored_alike(steps: list[str]) -> None:
    """So that users who have customised the same can share a ruleset."""
    rules = Customisation()
    for step in steps:
        if step == "enable":
            rules = rules.with_enabled(OVERRIDE, ".m.rule.suppress_edits", enabled=False)
            rules = rules.with_enabled(OVERRIDE, ".m.rule.reaction", enabled=False)
        elif step == "room":
            rules = rules.with_rule(ROOM, new_rule(ROOM, "!a:x", actions=[]))
        else:
            rules = rules.with_rule(CONTENT, new_rule(CONTENT, "a", actions=[], pattern="a"))
    assert rules.to_bytes() == (
        b'{"own":{"content":[{"rule_id":"a","actions":[],"pattern":"a"}],"room":[{"rule_id":"!a:x","actions":[]}]},'
        b'"defaults":{".m.rule.reaction":{"enabled":false},".m.rule.suppress_edits":{"enabled":false}}}'
    )


@pytest.mark.parametrize("rule_id", [".dot", ".m.rule.master", "a/b", "a\\b", "/", "", "x" * 513])
def test_reserved_and_malformed_ids_are_refused(rule_id: str) -> None:
    for kind in RuleKind:
        with pytest.raises(InvalidParam):
            new_rule(kind, rule_id, actions=[], pattern="x")


@pytest.mark.parametrize(
    "rule_id", ["nocake", "!room:example.com", "@user:x", "a.b", "SSByZWFsbHkgbGlrZSBjYWtl", "ü 1"]
)
def test_other_ids_are_accepted(rule_id: str) -> None:
    assert new_rule(ROOM, rule_id, actions=[]).rule_id == rule_id


def test_kinds_keep_what_they_have_a_use_for() -> None:
    conditions: list[JsonObject] = [{"kind": "x"}]
    for kind in RuleKind:
        rule = new_rule(kind, "a", actions=[], conditions=conditions, pattern="p")
        assert rule.pattern == ("p" if kind is CONTENT else None)
        has_conditions = kind in (OVERRIDE, RuleKind.UNDERRIDE)
        assert rule.conditions == (({"kind": "x"},) if has_conditions else None)
    assert new_rule(OVERRIDE, "a", actions=[]).conditions == ()
    with pytest.raises(MissingParam):
        new_rule(CONTENT, "a", actions=[])


@pytest.mark.parametrize("actions", [[5], [None], [[]], [{}], [{"set_tweak": 1}], ["notify", {"value": 1}]])
def test_malformed_actions_are_refused(actions: list[JsonValue]) -> None:
    with pytest.raises(InvalidParam):
        check_actions(actions)
    with pytest.raises(InvalidParam):
        new_rule(ROOM, "a", actions=actions)
    with pytest.raises(InvalidParam):
        with_rules("a").with_actions(ROOM, "a", actions)
    with pytest.raises(InvalidParam):
        Customisation().with_actions(OVERRIDE, ".m.rule.master", actions)


def test_historical_actions_are_stripped() -> None:
    assert check_actions(["dont_notify", "notify", "coalesce", "org.example.other"]) == (
        "notify",
        "org.example.other",
    )
    assert new_rule(ROOM, "a", actions=["dont_notify"]).actions == ()


def test_conditions_need_a_kind() -> None:
    without_kind: list[JsonObject] = [{}, {"kind": 1}, {"kind": None}]
    for condition in without_kind:
        with pytest.raises(InvalidParam):
            new_rule(OVERRIDE, "a", actions=[], conditions=[condition])


def test_long_patterns_are_refused() -> None:
    condition: JsonObject = {"kind": "event_match", "key": "content.body", "pattern": "x" * 256}
    with pytest.raises(InvalidParam):
        new_rule(CONTENT, "a", actions=[], pattern="x" * 256)
    with pytest.raises(InvalidParam):
        new_rule(OVERRIDE, "a", actions=[], conditions=[condition])
    assert new_rule(CONTENT, "a", actions=[], pattern="x" * 255).pattern == "x" * 255


def fill(pattern: str, count: int) -> Customisation:
    rules = Customisation()
    for number in range(count):
        rules = rules.with_rule(CONTENT, new_rule(CONTENT, f"r{number}", actions=[], pattern=pattern))
    return rules


def test_the_number_and_the_length_of_patterns_are_limited() -> None:
    rule = new_rule(CONTENT, "one more", actions=[], pattern="x" * 255)
    with pytest.raises(TooLarge):
        fill("x", 500).with_rule(CONTENT, rule)
    with pytest.raises(TooLarge):
        fill("x" * 250, 39).with_rule(CONTENT, rule)
    wildcard: JsonObject = {"kind": "event_match", "key": "type", "pattern": "m.*"}
    with pytest.raises(TooLarge):
        fill("x", 500).with_rule(OVERRIDE, new_rule(OVERRIDE, "a", actions=[], conditions=[wildcard]))


def test_muted_rooms_are_not_limited_by_the_number_of_patterns() -> None:
    rules = fill("x", 500)
    for number in range(20):
        muted: JsonObject = {"kind": "event_match", "key": "room_id", "pattern": f"!room{number}:x"}
        rules = rules.with_rule(
            OVERRIDE, new_rule(OVERRIDE, f"m{number}", actions=[], conditions=[muted] * 10)
        )
    assert len(rules.own[OVERRIDE]) == 20


def test_the_size_of_everything_is_limited() -> None:
    conditions: list[JsonObject] = [{"kind": "x", "padding": "y" * 300_000}]
    rules = Customisation().with_rule(OVERRIDE, new_rule(OVERRIDE, "a", actions=[], conditions=conditions))
    with pytest.raises(TooLarge):
        rules.with_rule(OVERRIDE, new_rule(OVERRIDE, "b", actions=[], conditions=conditions))
    big: list[JsonValue] = [{"set_tweak": "x", "value": "y" * 600_000}]
    with pytest.raises(TooLarge):
        rules.with_actions(OVERRIDE, ".m.rule.master", big)
    # Whoever has too much can still have less.
    assert rules.without_rule(OVERRIDE, "a") == Customisation()


RULE_IDS = st.sampled_from(["a", "b", "c", ".m.rule.message", "missing"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "delete", "enable", "disable"]),
            st.sampled_from(RuleKind),
            RULE_IDS,
            st.none() | RULE_IDS,
            st.none() | RULE_IDS,
        ),
        max_size=25,
    )
)
def test_whatever_is_done_ids_stay_unique_and_refusals_are_errors_of_the_specification(
    steps: list[tuple[str, RuleKind, str, str | None, str | None]],
) -> None:
    rules = Customisation()
    for step, kind, rule_id, before, after in steps:
        try:
            if step == "put":
                rule = new_rule(kind, rule_id, actions=[], pattern="x")
                rules = rules.with_rule(kind, rule, before=before, after=after)
            elif step == "delete":
                rules = rules.without_rule(kind, rule_id)
            else:
                rules = rules.with_enabled(kind, rule_id, enabled=step == "enable")
        except MatrixError:
            continue
    for kind in RuleKind:
        listed = [rule.rule_id for rule in Ruleset.of(rules).rules(kind)]
        assert len(listed) == len(set(listed))
    assert Customisation.from_bytes(rules.to_bytes()) == rules
