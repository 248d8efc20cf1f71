"""What a user has made of the push rules: rules of their own, and changes to the predefined ones.

Spec: client-server API, "Push Rules: API".
"""

from collections.abc import Iterable, Sequence
from typing import Final, Self

import msgspec

from homeserver.core.errors import InvalidParam, MissingParam, NotFound, TooLarge, Unknown
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.push_rules.actions import without_historical
from homeserver.core.push_rules.conditions import EventMatch
from homeserver.core.push_rules.rules import DEFAULTS, Rule, RuleKind

MAX_RULE_ID_LENGTH: Final = 512
MAX_PATTERN_LENGTH: Final = 255
MAX_PATTERNS: Final = 500
MAX_PATTERN_CHARACTERS: Final = 10_000
"""All patterns of a user together.

Each is looked for in every message that the user sees, while the message is being stored.
"""
MAX_BYTES: Final = 512 * 1024
"""All that one user has customised, as JSON."""


class OwnRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule that the user has made. `conditions` and `pattern` are None for kinds that have none."""

    rule_id: str
    actions: tuple[JsonValue, ...]
    conditions: tuple[JsonObject, ...] | None = None
    pattern: str | None = None
    enabled: bool = True

    def compiled(self, kind: RuleKind) -> Rule:
        """The rule, ready to be evaluated."""
        return Rule.own(
            kind,
            self.rule_id,
            enabled=self.enabled,
            conditions=self.conditions,
            pattern=self.pattern,
            actions=self.actions,
        )


class DefaultChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the user has changed of a predefined rule; None: nothing."""

    enabled: bool | None = None
    actions: tuple[JsonValue, ...] | None = None


class Customisation(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a user has changed.

    `own` has each kind's rules, the most important first; `defaults` goes by rule ID. `ignored` are users of whose
    events there is no notice at all, in order; they are no part of the rules that clients see. It is a value: what
    changes it returns another.
    """

    own: dict[RuleKind, tuple[OwnRule, ...]] = {}
    defaults: dict[str, DefaultChange] = {}
    ignored: tuple[str, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`."""
        return msgspec.json.decode(data, type=cls)

    def to_bytes(self) -> bytes:
        """The form to store: JSON, the same for equal customisations that were made alike."""
        return msgspec.json.encode(self)

    def with_rule(
        self, kind: RuleKind, rule: OwnRule, *, before: str | None = None, after: str | None = None
    ) -> Self:
        """Add a rule, or update the one with the same ID, which stays enabled or disabled as it was.

        It goes right above the rule `before`, else right below the rule `after`, both of the user's own; else
        it stays where it was, or, if it is new, becomes the most important of its kind.
        Errors: Unknown if `before` or `after` is not there; TooLarge if the user has too much already.
        """
        rules = list(self.own.get(kind, ()))
        at = next((at for at, other in enumerate(rules) if other.rule_id == rule.rule_id), None)
        if at is not None:
            rule = msgspec.structs.replace(rule, enabled=rules.pop(at).enabled)
        above = None if before is None else _index_of(rules, before)
        below = None if after is None else _index_of(rules, after) + 1
        place = next(index for index in (above, below, at, 0) if index is not None)
        rules.insert(place, rule)
        changed = self._with_own(kind, rules)
        _check_size(changed)
        return changed

    def without_rule(self, kind: RuleKind, rule_id: str) -> Self:
        """Remove a rule.

        Errors: NotFound; InvalidParam for a predefined rule.
        """
        if _is_default(kind, rule_id):
            raise InvalidParam("a predefined rule can only be disabled")
        rules = self.own.get(kind, ())
        kept = [rule for rule in rules if rule.rule_id != rule_id]
        if len(kept) == len(rules):
            raise NotFound("The push rule was not found.")
        return self._with_own(kind, kept)

    def with_enabled(self, kind: RuleKind, rule_id: str, *, enabled: bool) -> Self:
        """Enable or disable a rule, the user's own or predefined.

        Errors: NotFound.
        """
        if _is_default(kind, rule_id):
            change = self.defaults.get(rule_id, DefaultChange())
            return self._with_default(rule_id, msgspec.structs.replace(change, enabled=enabled))
        rules = [
            msgspec.structs.replace(rule, enabled=enabled) if rule.rule_id == rule_id else rule
            for rule in self._having(kind, rule_id)
        ]
        return self._with_own(kind, rules)

    def with_actions(self, kind: RuleKind, rule_id: str, actions: Iterable[JsonValue]) -> Self:
        """Change the actions of a rule, the user's own or predefined.

        Errors: NotFound; InvalidParam if some action is malformed; TooLarge.
        """
        checked = check_actions(actions)
        if _is_default(kind, rule_id):
            change = self.defaults.get(rule_id, DefaultChange())
            changed = self._with_default(rule_id, msgspec.structs.replace(change, actions=checked))
        else:
            rules = [
                msgspec.structs.replace(rule, actions=checked) if rule.rule_id == rule_id else rule
                for rule in self._having(kind, rule_id)
            ]
            changed = self._with_own(kind, rules)
        _check_size(changed)
        return changed

    def without_notice_of(self, ignored: Sequence[str]) -> Self:
        """Give no notice of the events of these users, and of none but these."""
        return msgspec.structs.replace(self, ignored=tuple(ignored))

    def _having(self, kind: RuleKind, rule_id: str) -> tuple[OwnRule, ...]:
        """The user's rules of a kind, of which one must have that ID."""
        rules = self.own.get(kind, ())
        if not any(rule.rule_id == rule_id for rule in rules):
            raise NotFound("The push rule was not found.")
        return rules

    def _with_own(self, kind: RuleKind, rules: Sequence[OwnRule]) -> Self:
        # In the order of kinds, so that equal customisations are stored as equal bytes.
        everything = {**self.own, kind: tuple(rules)}
        own = {each: everything[each] for each in RuleKind if everything.get(each)}
        return msgspec.structs.replace(self, own=own)

    def _with_default(self, rule_id: str, change: DefaultChange) -> Self:
        """The change counts only where it differs from what is predefined."""
        default = DEFAULTS[rule_id]
        if change.enabled == default.enabled:
            change = msgspec.structs.replace(change, enabled=None)
        if change.actions == default.outcome.actions:
            change = msgspec.structs.replace(change, actions=None)
        everything = {**self.defaults, rule_id: change}
        defaults = {each: everything[each] for each in sorted(everything)}
        if change == DefaultChange():
            del defaults[rule_id]
        return msgspec.structs.replace(self, defaults=defaults)


def new_rule(
    kind: RuleKind,
    rule_id: str,
    *,
    actions: Iterable[JsonValue],
    conditions: Iterable[JsonObject] | None = None,
    pattern: str | None = None,
) -> OwnRule:
    """A rule as a client asks for it, enabled; what its kind has no use for is dropped.

    Errors: InvalidParam for a malformed or reserved ID, actions, conditions or pattern; MissingParam for a
    content rule without a pattern.
    """
    if rule_id.startswith("."):
        raise InvalidParam("rule IDs that start with a dot are reserved for predefined rules")
    if not rule_id or len(rule_id) > MAX_RULE_ID_LENGTH or "/" in rule_id or "\\" in rule_id:
        raise InvalidParam(f"a rule ID has 1 to {MAX_RULE_ID_LENGTH} characters, none a slash or backslash")
    checked = check_actions(actions)
    if kind is RuleKind.CONTENT:
        if pattern is None:
            raise MissingParam("a content rule needs a pattern")
        _check_pattern(pattern)
        return OwnRule(rule_id, checked, pattern=pattern)
    if kind in (RuleKind.ROOM, RuleKind.SENDER):
        return OwnRule(rule_id, checked)
    listed = tuple(conditions or ())
    for condition in listed:
        # Conditions of unknown kinds are kept: they never hold, but a client may know them.
        if not isinstance(condition.get("kind"), str):
            raise InvalidParam("a condition needs a kind")
        if isinstance(given := condition.get("pattern"), str):
            _check_pattern(given)
    return OwnRule(rule_id, checked, conditions=listed)


def check_actions(actions: Iterable[JsonValue]) -> tuple[JsonValue, ...]:
    """Actions as a client gives them, without those that the specification has abolished.

    Errors: InvalidParam if one is neither a string nor an object that sets a tweak.
    """
    kept = without_historical(actions)
    for action in kept:
        tweak = action.get("set_tweak") if isinstance(action, dict) else action
        if not isinstance(tweak, str):
            raise InvalidParam("an action is a string, or an object with set_tweak")
    return kept


def _check_size(customisation: Customisation) -> None:
    """Check the limits on what one user may have."""
    if len(customisation.to_bytes()) > MAX_BYTES:
        raise TooLarge("the push rules are larger than this server allows")
    lengths = [
        length
        for kind, rules in customisation.own.items()
        for rule in rules
        for length in _searched_lengths(kind, rule)
    ]
    if len(lengths) > MAX_PATTERNS or sum(lengths) > MAX_PATTERN_CHARACTERS:
        raise TooLarge("there are more patterns in the push rules than this server allows")


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise InvalidParam(f"a pattern has at most {MAX_PATTERN_LENGTH} characters")


def _index_of(rules: Sequence[OwnRule], rule_id: str) -> int:
    for index, rule in enumerate(rules):
        if rule.rule_id == rule_id:
            return index
    raise Unknown(f"before/after rule not found: {rule_id}")


def _is_default(kind: RuleKind, rule_id: str) -> bool:
    return rule_id in DEFAULTS and DEFAULTS[rule_id].kind is kind


def _searched_lengths(kind: RuleKind, rule: OwnRule) -> list[int]:
    """The lengths of the patterns of a rule that are more than comparisons."""
    if rule.pattern is not None:
        return [len(rule.pattern)]
    return [
        len(pattern)
        for condition, check in zip(rule.conditions or (), rule.compiled(kind).checks, strict=True)
        if isinstance(check, EventMatch) and isinstance(pattern := condition.get("pattern"), str)
    ]
