"""Push rules as their owners see them. Spec: client-server API, "Push Rules: API"."""

import attrs

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.push_rules import UNMODIFIED, Customisation, RuleKind, Ruleset
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.storage import push_rules


@attrs.frozen
class PushRules:
    """Reads the users' push rules."""

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
