"""Push rules: which events a user is notified of, and how. Spec: client-server API, "Push Notifications"."""

from homeserver.core.push_rules.actions import SILENT, Outcome
from homeserver.core.push_rules.customisations import (
    Customisation,
    DefaultChange,
    OwnRule,
    check_actions,
    new_rule,
)
from homeserver.core.push_rules.facts import EventFacts, UserFacts
from homeserver.core.push_rules.rules import DEFAULTS, Rule, RuleKind
from homeserver.core.push_rules.rulesets import (
    UNMODIFIED,
    RoomOutcome,
    Ruleset,
    default_outcome,
    evaluate,
    evaluate_room,
)

__all__ = [
    "DEFAULTS",
    "SILENT",
    "UNMODIFIED",
    "Customisation",
    "DefaultChange",
    "EventFacts",
    "Outcome",
    "OwnRule",
    "RoomOutcome",
    "Rule",
    "RuleKind",
    "Ruleset",
    "UserFacts",
    "check_actions",
    "default_outcome",
    "evaluate",
    "evaluate_room",
    "new_rule",
]
