"""Client-server API, `pushrules.yaml`: reading and changing push rules."""

import msgspec

from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.push_rules import PushRules

RULE = "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}"


class PushRuleBody(msgspec.Struct):
    """What a rule is to be."""

    actions: list[JsonValue]
    conditions: list[JsonObject] | None = None
    pattern: str | None = None


class PlaceQuery(msgspec.Struct):
    """The rules beside which it is to stand."""

    before: str | None = None
    after: str | None = None


class EnabledBody(msgspec.Struct):
    """Whether a rule is to be enabled."""

    enabled: bool


class ActionsBody(msgspec.Struct):
    """What a rule is to do."""

    actions: list[JsonValue]


class Pushrules(msgspec.Struct, frozen=True):
    """The endpoints of push rules."""

    push_rules: PushRules

    @endpoint("GET", "/_matrix/client/v3/pushrules", auth=Auth.USER)
    async def get_push_rules(self, requester: Requester) -> JsonObject:
        """All rulesets, of which there is one."""
        return {"global": await self.push_rules.all_of(requester)}

    @endpoint("GET", "/_matrix/client/v3/pushrules/global", auth=Auth.USER)
    async def get_push_rules_global(self, requester: Requester) -> JsonObject:
        """All rules by kind."""
        return await self.push_rules.all_of(requester)

    @endpoint("GET", RULE, auth=Auth.USER)
    async def get_push_rule(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """One rule."""
        return await self.push_rules.rule_of(requester, kind, rule_id)

    @endpoint("PUT", RULE, auth=Auth.USER, limit=Limit.UPDATES)
    async def set_push_rule(
        self, requester: Requester, kind: str, rule_id: str, query: PlaceQuery, body: PushRuleBody
    ) -> JsonObject:
        """Add or change a rule."""
        await self.push_rules.put(
            requester,
            kind,
            rule_id,
            actions=body.actions,
            conditions=body.conditions,
            pattern=body.pattern,
            before=query.before,
            after=query.after,
        )
        return {}

    @endpoint("DELETE", RULE, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_push_rule(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """Remove a rule."""
        await self.push_rules.delete(requester, kind, rule_id)
        return {}

    @endpoint("GET", f"{RULE}/enabled", auth=Auth.USER)
    async def is_push_rule_enabled(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """Whether a rule is enabled."""
        rule = await self.push_rules.rule_of(requester, kind, rule_id)
        return {"enabled": rule["enabled"]}

    @endpoint("PUT", f"{RULE}/enabled", auth=Auth.USER, limit=Limit.UPDATES)
    async def set_push_rule_enabled(
        self, requester: Requester, kind: str, rule_id: str, body: EnabledBody
    ) -> JsonObject:
        """Enable or disable a rule."""
        await self.push_rules.set_enabled(requester, kind, rule_id, enabled=body.enabled)
        return {}

    @endpoint("GET", f"{RULE}/actions", auth=Auth.USER)
    async def get_push_rule_actions(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """What a rule does."""
        rule = await self.push_rules.rule_of(requester, kind, rule_id)
        return {"actions": rule["actions"]}

    @endpoint("PUT", f"{RULE}/actions", auth=Auth.USER, limit=Limit.UPDATES)
    async def set_push_rule_actions(
        self, requester: Requester, kind: str, rule_id: str, body: ActionsBody
    ) -> JsonObject:
        """Change what a rule does."""
        await self.push_rules.set_actions(requester, kind, rule_id, body.actions)
        return {}
