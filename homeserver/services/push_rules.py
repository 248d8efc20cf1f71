"""Push rules as their owners see them. Spec: client-server API, "Push Rules: API"."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.push_rules import UNMODIFIED, Customisation, RuleKind, Ruleset, new_rule
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.storage import push_rules

NOTHING: Final = Customisation()

Change = Callable[[Customisation], Customisation]
"""What makes other rules of a user's rules. Errors: whatever is wrong with them then."""


class PushRules(msgspec.Struct, frozen=True):
    """Reads and changes the users' push rules."""

    database: Database

    async def all_of(self, requester: Requester) -> JsonObject:
        """All rules of the requester by kind, in the order in which they are checked."""
        ruleset = await self.database.read(ruleset_of, requester.user_id)
        return ruleset.to_json(requester.user_id)

    async def rule_of(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """One rule of the requester, predefined or not.

        Errors: NotFound; InvalidParam if there is no such kind of rule.
        """
        rule_kind = parse_kind(kind)
        ruleset = await self.database.read(ruleset_of, requester.user_id)
        rule = ruleset.rule(rule_kind, rule_id)
        if rule is None:
            raise NotFound("The push rule was not found.")
        return rule.to_json(requester.user_id)

    async def put(
        self,
        requester: Requester,
        kind: str,
        rule_id: str,
        *,
        actions: Sequence[JsonValue],
        conditions: Sequence[JsonObject] | None,
        pattern: str | None,
        before: str | None,
        after: str | None,
    ) -> None:
        """Add a rule, or update the one with the same ID. `before` and `after` are as in `with_rule`.

        Errors: InvalidParam and MissingParam for a malformed rule, as `new_rule` says; Unknown if `before` or
        `after` is no rule of the user's own of this kind; TooLarge.
        """
        rule_kind = parse_kind(kind)
        rule = new_rule(rule_kind, rule_id, actions=actions, conditions=conditions, pattern=pattern)

        def add(rules: Customisation) -> Customisation:
            return rules.with_rule(rule_kind, rule, before=before, after=after)

        await self._change(requester, add)

    async def delete(self, requester: Requester, kind: str, rule_id: str) -> None:
        """Remove a rule of the user's own.

        Errors: NotFound; InvalidParam for a predefined rule, or if there is no such kind.
        """
        rule_kind = parse_kind(kind)
        await self._change(requester, lambda rules: rules.without_rule(rule_kind, rule_id))

    async def set_enabled(self, requester: Requester, kind: str, rule_id: str, *, enabled: bool) -> None:
        """Enable or disable a rule, predefined or not. Errors: as `rule_of`."""
        rule_kind = parse_kind(kind)
        await self._change(requester, lambda rules: rules.with_enabled(rule_kind, rule_id, enabled=enabled))

    async def set_actions(
        self, requester: Requester, kind: str, rule_id: str, actions: Sequence[JsonValue]
    ) -> None:
        """Change what a rule does, predefined or not.

        Errors: as `rule_of`; InvalidParam for malformed actions; TooLarge.
        """
        rule_kind = parse_kind(kind)
        await self._change(requester, lambda rules: rules.with_actions(rule_kind, rule_id, actions))

    async def _change(self, requester: Requester, change: Change) -> None:
        await self.database.write(change_once, requester.user_id, change)


def change_once(tx: WriteTransaction, user_id: UserID, change: Change) -> None:
    """Change the user's rules; the user's devices are told if that makes a difference."""
    stored = push_rules.lock(tx, user_id, empty=NOTHING.to_bytes())
    changed = change(Customisation.from_bytes(stored)).to_bytes()
    if changed != stored:
        push_rules.put(tx, user_id, changed)


def parse_kind(kind: str) -> RuleKind:
    """The kind of rule of that name. Errors: InvalidParam."""
    try:
        return RuleKind(kind)
    except ValueError:
        kinds = ", ".join(kind.value for kind in RuleKind)
        raise InvalidParam(f"the kind of a push rule is one of {kinds}") from None


def ruleset_of(tx: ReadTransaction, user_id: UserID) -> Ruleset:
    """The user's rules: the predefined ones with the user's changes, and the user's own."""
    stored = push_rules.of(tx, user_id)
    return UNMODIFIED if stored is None else Ruleset.of(Customisation.from_bytes(stored))


def content_of(tx: ReadTransaction, user_id: UserID) -> JsonObject:
    """The user's rules as the content of the account data `m.push_rules`."""
    return {"global": ruleset_of(tx, user_id).to_json(user_id)}
