"""Push rules, and those that the specification predefines.

Spec: client-server API, "Push Rules" and "Predefined Rules".
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Self

import msgspec

from homeserver.core.globs import Glob
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.push_rules.actions import Outcome
from homeserver.core.push_rules.conditions import (
    BODY,
    Condition,
    EventMatch,
    Never,
    compile_condition,
)
from homeserver.core.push_rules.facts import EventFacts, UserFacts


class RuleKind(StrEnum):
    """The kinds of push rules, in the order in which they are checked."""

    OVERRIDE = "override"
    CONTENT = "content"
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"


class Rule(msgspec.Struct, frozen=True, eq=False):
    """A push rule, ready to be evaluated.

    `conditions` and `pattern` are in the JSON form, None where the kind has no such thing. `checks` are what
    they mean; rules of the kinds `room` and `sender` have none, since whoever looks for them knows their room
    or sender. `is_personal` tells that the conditions speak of the user whose rule it is, who stands in them
    as `OWN_USER_ID`.
    """

    kind: RuleKind
    rule_id: str
    is_default: bool
    enabled: bool
    conditions: tuple[JsonObject, ...] | None
    pattern: str | None
    outcome: Outcome
    checks: tuple[Condition, ...]
    is_personal: bool = False

    @classmethod
    def own(
        cls,
        kind: RuleKind,
        rule_id: str,
        *,
        enabled: bool,
        conditions: Iterable[JsonObject] | None,
        pattern: str | None,
        actions: Iterable[JsonValue],
    ) -> Self:
        """A rule that a user has made."""
        checks: tuple[Condition, ...] = ()
        listed: tuple[JsonObject, ...] | None = None
        if kind is RuleKind.CONTENT:
            checks = (Never() if pattern is None else EventMatch(BODY, Glob(pattern)),)
        elif kind in (RuleKind.OVERRIDE, RuleKind.UNDERRIDE):
            listed = tuple(conditions or ())
            checks = tuple(compile_condition(condition) for condition in listed)
        return cls(
            kind=kind,
            rule_id=rule_id,
            is_default=False,
            enabled=enabled,
            conditions=listed,
            pattern=pattern if kind is RuleKind.CONTENT else None,
            outcome=Outcome.of(actions),
            checks=checks,
        )

    def matches(self, event: EventFacts, user: UserFacts) -> bool:
        """Whether all conditions hold; whether the rule is enabled is not asked here."""
        for check in self.checks:  # noqa: SIM110  (a generator would cost more than the checks)
            if not check.holds(event, user):
                return False
        return True

    def to_json(self, user_id: str) -> JsonObject:
        """The rule as its owner's clients see it."""
        rule: JsonObject = {
            "rule_id": self.rule_id,
            "default": self.is_default,
            "enabled": self.enabled,
        }
        if self.conditions is not None:
            rule["conditions"] = [
                _with_user(condition, user_id) if self.is_personal else condition
                for condition in self.conditions
            ]
        if self.pattern is not None:
            rule["pattern"] = self.pattern
        rule["actions"] = list(self.outcome.actions)
        return rule


OWN_USER_ID: Final = "[the user's Matrix ID]"
"""What stands for the user in the conditions of predefined rules."""


def _with_user(condition: JsonObject, user_id: str) -> JsonObject:
    return {key: user_id if value == OWN_USER_ID else value for key, value in condition.items()}


class _InvitesUser(msgspec.Struct, frozen=True):
    """The state key must be the user.

    A pattern would take `*` and `?` in historical user IDs for wildcards, and make no difference between
    users whose IDs differ by case.
    """

    def holds(self, event: EventFacts, user: UserFacts, /) -> bool:
        return event.state_key == user.user_id


class _MentionsUser(msgspec.Struct, frozen=True):
    """The user must be mentioned."""

    def holds(self, event: EventFacts, user: UserFacts, /) -> bool:
        return event.mentions(user.user_id)


def _compile(condition: JsonObject) -> Condition:
    if condition.get("pattern") == OWN_USER_ID:
        return _InvitesUser()
    if condition.get("value") == OWN_USER_ID:
        return _MentionsUser()
    return compile_condition(condition)


def _default(
    kind: RuleKind,
    rule_id: str,
    conditions: list[JsonObject],
    actions: list[JsonValue],
    *,
    enabled: bool = True,
) -> Rule:
    return Rule(
        kind=kind,
        rule_id=rule_id,
        is_default=True,
        enabled=enabled,
        conditions=tuple(conditions),
        pattern=None,
        outcome=Outcome.of(actions),
        checks=tuple(_compile(condition) for condition in conditions),
        is_personal=any(OWN_USER_ID in condition.values() for condition in conditions),
    )


def _is(key: str, pattern: str) -> JsonObject:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _sound(value: str) -> JsonObject:
    return {"set_tweak": "sound", "value": value}


_HIGHLIGHT: JsonObject = {"set_tweak": "highlight"}
_TWO_MEMBERS: JsonObject = {"kind": "room_member_count", "is": "2"}

MASTER: Final = ".m.rule.master"
"""The rule that stands above all others, the user's own included."""

DEFAULT_OVERRIDES: Final = (
    _default(RuleKind.OVERRIDE, MASTER, [], [], enabled=False),
    _default(RuleKind.OVERRIDE, ".m.rule.suppress_notices", [_is("content.msgtype", "m.notice")], []),
    _default(
        RuleKind.OVERRIDE,
        ".m.rule.invite_for_me",
        [_is("type", "m.room.member"), _is("content.membership", "invite"), _is("state_key", OWN_USER_ID)],
        ["notify", _sound("default")],
    ),
    _default(RuleKind.OVERRIDE, ".m.rule.member_event", [_is("type", "m.room.member")], []),
    _default(
        RuleKind.OVERRIDE,
        ".m.rule.is_user_mention",
        [
            {
                "kind": "event_property_contains",
                "key": r"content.m\.mentions.user_ids",
                "value": OWN_USER_ID,
            }
        ],
        ["notify", _sound("default"), _HIGHLIGHT],
    ),
    _default(
        RuleKind.OVERRIDE,
        ".m.rule.is_room_mention",
        [
            {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        ["notify", _HIGHLIGHT],
    ),
    _default(
        RuleKind.OVERRIDE,
        ".m.rule.tombstone",
        [_is("type", "m.room.tombstone"), _is("state_key", "")],
        ["notify", _HIGHLIGHT],
    ),
    _default(RuleKind.OVERRIDE, ".m.rule.reaction", [_is("type", "m.reaction")], []),
    _default(
        RuleKind.OVERRIDE,
        ".m.rule.room.server_acl",
        [_is("type", "m.room.server_acl"), _is("state_key", "")],
        [],
    ),
    _default(
        RuleKind.OVERRIDE,
        ".m.rule.suppress_edits",
        [
            {
                "kind": "event_property_is",
                "key": r"content.m\.relates_to.rel_type",
                "value": "m.replace",
            }
        ],
        [],
    ),
)
"""In the specification's order; so are the others."""

DEFAULT_UNDERRIDES: Final = (
    _default(
        RuleKind.UNDERRIDE,
        ".m.rule.call",
        [_is("type", "m.call.invite")],
        ["notify", _sound("ring")],
    ),
    _default(
        RuleKind.UNDERRIDE,
        ".m.rule.encrypted_room_one_to_one",
        [_TWO_MEMBERS, _is("type", "m.room.encrypted")],
        ["notify", _sound("default")],
    ),
    _default(
        RuleKind.UNDERRIDE,
        ".m.rule.room_one_to_one",
        [_TWO_MEMBERS, _is("type", "m.room.message")],
        ["notify", _sound("default")],
    ),
    _default(RuleKind.UNDERRIDE, ".m.rule.message", [_is("type", "m.room.message")], ["notify"]),
    _default(RuleKind.UNDERRIDE, ".m.rule.encrypted", [_is("type", "m.room.encrypted")], ["notify"]),
)

DEFAULTS: Final[Mapping[str, Rule]] = {
    rule.rule_id: rule for rule in (*DEFAULT_OVERRIDES, *DEFAULT_UNDERRIDES)
}
"""All predefined rules by their IDs, which are unique across kinds."""
