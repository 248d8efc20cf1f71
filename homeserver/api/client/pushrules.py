"""Client-server API, `pushrules.yaml`: reading push rules."""

import attrs

from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint
from homeserver.services.push_rules import PushRules

RULE = "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}"


@attrs.frozen
class Pushrules:
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

    @endpoint("GET", f"{RULE}/enabled", auth=Auth.USER)
    async def is_push_rule_enabled(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """Whether a rule is enabled."""
        rule = await self.push_rules.rule_of(requester, kind, rule_id)
        return {"enabled": rule["enabled"]}

    @endpoint("GET", f"{RULE}/actions", auth=Auth.USER)
    async def get_push_rule_actions(self, requester: Requester, kind: str, rule_id: str) -> JsonObject:
        """What a rule does."""
        rule = await self.push_rules.rule_of(requester, kind, rule_id)
        return {"actions": rule["actions"]}
