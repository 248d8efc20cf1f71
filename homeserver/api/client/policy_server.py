"""Client-server API, `policy_server.yaml`: the key of the policy server that has this server's name."""

import msgspec

from homeserver.config.sections import PolicyServer as PolicyServerSection
from homeserver.core.errors import NotFound
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, endpoint


class PolicyServer(msgspec.Struct, frozen=True):
    """The policy server beside this server, as configured."""

    policy_server: PolicyServerSection

    @endpoint("GET", "/.well-known/matrix/policy_server", auth=Auth.NONE)
    async def get_wellknown_policy(self) -> JsonObject:
        """The public key with which it signs."""
        if self.policy_server.ed25519 is None:
            raise NotFound("There is no policy server of this name")
        return {"public_keys": {"ed25519": self.policy_server.ed25519}}
