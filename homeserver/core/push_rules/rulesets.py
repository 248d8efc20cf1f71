"""A user's push rules as a whole, and their evaluation. Spec: client-server API, "Push Rules"."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final, Self

import attrs
import msgspec

from homeserver.core.globs import fold
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.push_rules.actions import SILENT, Outcome
from homeserver.core.push_rules.conditions import ROOM_ID, ContainsDisplayName, EventTextIs
from homeserver.core.push_rules.customisations import Customisation
from homeserver.core.push_rules.facts import EventFacts, UserFacts
from homeserver.core.push_rules.rules import (
    DEFAULT_OVERRIDES,
    DEFAULT_UNDERRIDES,
    DEFAULTS,
    MASTER,
    Rule,
    RuleKind,
)


class _Ranked(msgspec.Struct, frozen=True, eq=False):
    """Enabled rules of a kind by importance.

    Those that name their room are only looked at there: some users mute hundreds of rooms with a rule for
    each.
    """

    anywhere: tuple[tuple[int, Rule], ...]
    in_rooms: Mapping[str, tuple[tuple[int, Rule], ...]]

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Self:
        anywhere: list[tuple[int, Rule]] = []
        in_rooms: dict[str, list[tuple[int, Rule]]] = {}
        for rank, rule in enumerate(rules):
            if rule.enabled:
                room = _room_of(rule)
                (anywhere if room is None else in_rooms.setdefault(room, [])).append((rank, rule))
        return cls(tuple(anywhere), {room: tuple(ranked) for room, ranked in in_rooms.items()})

    def first_match(self, event: EventFacts, user: UserFacts) -> Rule | None:
        """The most important rule that matches."""
        ranked = self.anywhere
        if self.in_rooms and (here := self.in_rooms.get(fold(event.room_id))):
            ranked = tuple(sorted((*ranked, *here), key=_rank))
        for _, rule in ranked:
            if rule.matches(event, user):
                return rule
        return None


def _rank(ranked: tuple[int, Rule]) -> int:
    return ranked[0]


def _room_of(rule: Rule) -> str | None:
    """The (folded) room that a rule is about, None if it may match anywhere."""
    for check in rule.checks:
        if isinstance(check, EventTextIs) and check.path == ROOM_ID:
            return check.text
    return None


@attrs.frozen(slots=True, eq=False)
class Ruleset:
    """The predefined rules with a user's changes, and the user's own.

    It does not know whose it is: users who have customised the same may share one, and are then evaluated
    together.

    `own` has each kind's rules, the most important first; `defaults` has all predefined rules by ID. Of what the
    `ignored` users send there is no notice.
    """

    own: Mapping[RuleKind, tuple[Rule, ...]]
    defaults: Mapping[str, Rule]
    uses_display_name: bool
    ignored: frozenset[str]
    _override: _Ranked
    _content: _Ranked
    _rooms: Mapping[str, Rule]
    _senders: Mapping[str, Rule]
    _underride: _Ranked

    @classmethod
    def of(cls, customisation: Customisation) -> Self:
        """Compile what a user has customised."""
        own = {
            kind: tuple(rule.compiled(kind) for rule in customisation.own.get(kind, ())) for kind in RuleKind
        }
        defaults = dict(DEFAULTS)
        for rule_id, change in customisation.defaults.items():
            # What no release of this server predefines any more has no effect.
            if (rule := defaults.get(rule_id)) is not None:
                enabled = rule.enabled if change.enabled is None else change.enabled
                outcome = rule.outcome if change.actions is None else Outcome.of(change.actions)
                defaults[rule_id] = msgspec.structs.replace(rule, enabled=enabled, outcome=outcome)
        return cls(
            own=own,
            defaults=defaults,
            uses_display_name=any(
                isinstance(check, ContainsDisplayName)
                for rules in own.values()
                for rule in rules
                for check in rule.checks
            ),
            ignored=frozenset(customisation.ignored),
            override=_Ranked.of(own[RuleKind.OVERRIDE]),
            content=_Ranked.of(own[RuleKind.CONTENT]),
            rooms={rule.rule_id: rule for rule in own[RuleKind.ROOM] if rule.enabled},
            senders={rule.rule_id: rule for rule in own[RuleKind.SENDER] if rule.enabled},
            underride=_Ranked.of(own[RuleKind.UNDERRIDE]),
        )

    def rules(self, kind: RuleKind) -> Iterator[Rule]:
        """All rules of a kind in the order in which they are checked, disabled ones included.

        Predefined rules come after the user's own, but for the master rule, which comes before everything.
        """
        predefined = {RuleKind.OVERRIDE: DEFAULT_OVERRIDES[1:], RuleKind.UNDERRIDE: DEFAULT_UNDERRIDES}
        if kind is RuleKind.OVERRIDE:
            yield self.defaults[MASTER]
        yield from self.own[kind]
        for rule in predefined.get(kind, ()):
            yield self.defaults[rule.rule_id]

    def rule(self, kind: RuleKind, rule_id: str) -> Rule | None:
        """The rule of that kind and ID, the user's own or predefined."""
        return next((rule for rule in self.rules(kind) if rule.rule_id == rule_id), None)

    def to_json(self, user_id: UserID) -> JsonObject:
        """The rules by kind as the user's clients see them: what `GET /pushrules/global/` answers.

        Under the key `global` it is the content of the account data `m.push_rules`.
        """
        return {kind.value: [rule.to_json(user_id) for rule in self.rules(kind)] for kind in RuleKind}

    def outcome(self, defaults: "MatchingDefaults", event: EventFacts, user: UserFacts) -> Outcome:
        """The actions of the first rule that matches. `defaults` are those that match for this user."""
        # "Homeservers MUST NOT notify the Push Gateway for events that the user has sent themselves."
        if user.user_id == event.sender or event.sender in self.ignored:
            return SILENT
        if self.defaults[MASTER].enabled:
            return self.defaults[MASTER].outcome
        rule = (
            self._override.first_match(event, user)
            or self._first_enabled(defaults.overrides)
            or self._content.first_match(event, user)
            or self._rooms.get(event.room_id)
            or self._senders.get(event.sender)
            or self._underride.first_match(event, user)
            or self._first_enabled(defaults.underrides)
        )
        return SILENT if rule is None else rule.outcome

    def _first_enabled(self, rule_ids: tuple[str, ...]) -> Rule | None:
        for rule_id in rule_ids:
            rule = self.defaults[rule_id]
            if rule.enabled:
                return rule
        return None


UNMODIFIED: Final = Ruleset.of(Customisation())
"""The rules of a user who has customised nothing."""


class MatchingDefaults(msgspec.Struct, frozen=True, eq=False):
    """The IDs of the predefined rules (but the master) whose conditions hold, enabled or not, in order."""

    overrides: tuple[str, ...]
    underrides: tuple[str, ...]

    @classmethod
    def of(cls, event: EventFacts, personal: frozenset[str]) -> Self:
        """Those that match for all users for whom `personal` match, of the rules that speak of their user."""

        def matching(rules: Iterable[Rule]) -> tuple[str, ...]:
            return tuple(
                rule.rule_id
                for rule in rules
                if (rule.rule_id in personal if rule.is_personal else rule.matches(event, _NOBODY))
            )

        return cls(matching(DEFAULT_OVERRIDES[1:]), matching(DEFAULT_UNDERRIDES))


_PERSONAL: Final = tuple(rule for rule in DEFAULTS.values() if rule.is_personal)

# For rules that ask nothing about the user.
_NOBODY: Final = UserFacts(UserID(""))


def _personal(event: EventFacts, user: UserFacts) -> frozenset[str]:
    """The IDs of the predefined rules that speak of their user and match for this one."""
    return frozenset(rule.rule_id for rule in _PERSONAL if rule.matches(event, user))


def default_outcome(event: EventFacts) -> Outcome:
    """The outcome for all members with unmodified rules but the sender and those whom it singles out.

    Spec: client-server API, "Receiving notifications".
    """
    return UNMODIFIED.outcome(MatchingDefaults.of(event, frozenset()), event, _NOBODY)


def evaluate(ruleset: Ruleset, event: EventFacts, user: UserFacts) -> Outcome:
    """The outcome for one user, who may be its sender, be mentioned, or have rules of their own.

    Without `ruleset.uses_display_name` the user's display name is not asked for.
    """
    return ruleset.outcome(MatchingDefaults.of(event, _personal(event, user)), event, user)


class RoomOutcome(msgspec.Struct, frozen=True):
    """What an event means to the users of a room: `base` to all who are not listed in `individual`."""

    base: Outcome
    individual: Mapping[UserID, Outcome]

    def of(self, user_id: UserID) -> Outcome:
        """What it means to one user."""
        return self.individual.get(user_id, self.base)


def evaluate_room(
    event: EventFacts,
    *,
    members: Container[UserID],
    customised: Mapping[UserID, Ruleset],
    display_name: Callable[[UserID], str | None],
) -> RoomOutcome:
    """What an event means to `members`, the local users who see it: those joined, and the one it invites.

    `customised` has the rules of those among them who customised any; equal rules should be one object.
    `display_name` gives a member's display name in the room; only called where a rule asks for it. The work
    grows with the users that are customised or mentioned, not with the members.
    """
    ordinary = MatchingDefaults.of(event, frozenset())
    singled_out = {user_id for user_id in event.singled_out() if user_id in members}
    defaults_of = {frozenset[str](): ordinary}
    outcomes: dict[tuple[Ruleset, MatchingDefaults], Outcome] = {}
    individual: dict[UserID, Outcome] = {}
    for user_id in customised.keys() | singled_out:
        ruleset = customised.get(user_id, UNMODIFIED)
        defaults = ordinary
        if user_id in singled_out:
            personal = _personal(event, UserFacts(user_id))
            if personal not in defaults_of:
                defaults_of[personal] = MatchingDefaults.of(event, personal)
            defaults = defaults_of[personal]
        if ruleset.uses_display_name:
            user = UserFacts(user_id, display_name(user_id))
            individual[user_id] = ruleset.outcome(defaults, event, user)
            continue
        outcome = outcomes.get((ruleset, defaults))
        if outcome is None:
            outcome = outcomes[ruleset, defaults] = ruleset.outcome(defaults, event, _NOBODY)
        individual[user_id] = outcome
    if event.sender in members or event.sender in individual:
        individual[event.sender] = SILENT
    return RoomOutcome(UNMODIFIED.outcome(ordinary, event, _NOBODY), individual)
