"""Server-server API, `user_keys.yaml`: the keys of users here."""

import msgspec

from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_keys import FederationKeys
from homeserver.services.key_claims import KeyClaims


class QueryUserEncryptionKeysBody(msgspec.Struct):
    """Of whom, and of which devices; an empty list stands for all."""

    device_keys: dict[str, list[str]]


class ClaimUserEncryptionKeysBody(msgspec.Struct):
    """Algorithms by device, by user."""

    one_time_keys: dict[str, dict[str, str]]


class UserKeys(msgspec.Struct, frozen=True):
    """Keys for other servers."""

    keys: FederationKeys
    claims: KeyClaims

    @endpoint("POST", "/_matrix/federation/v1/user/keys/query", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def query_user_encryption_keys(self, body: QueryUserEncryptionKeysBody) -> RawJson:
        """The keys of devices, and cross-signing keys, of users of this server."""
        return RawJson(await self.keys.query(body.device_keys))

    @endpoint("POST", "/_matrix/federation/v1/user/keys/claim", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def claim_user_encryption_keys(self, body: ClaimUserEncryptionKeysBody) -> RawJson:
        """One-time keys of devices of users of this server."""
        return RawJson(await self.claims.claim_for_server(body.one_time_keys))
