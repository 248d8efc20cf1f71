"""Client-server API, `cross_signing.yaml`: cross-signing keys and signatures."""

import msgspec

from homeserver.api.user_interactive import OAUTH_FLOWS, PASSWORD_FLOWS, challenge_response, operation
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.request import Request
from homeserver.http.response import Response
from homeserver.services.cross_signing import CrossSigning as CrossSigningService
from homeserver.services.cross_signing import read_keys
from homeserver.services.uia import Challenge, UserInteractiveAuth


class UploadCrossSigningKeysBody(msgspec.Struct):
    """The keys that are to be set, and a stage of the authentication."""

    master_key: JsonObject | None = None
    self_signing_key: JsonObject | None = None
    user_signing_key: JsonObject | None = None
    auth: JsonObject | None = None


class CrossSigning(msgspec.Struct, frozen=True):
    """The endpoints of cross-signing."""

    cross_signing: CrossSigningService
    uia: UserInteractiveAuth

    @endpoint("POST", "/_matrix/client/v3/keys/device_signing/upload", auth=Auth.USER, limit=Limit.UPDATES)
    async def upload_cross_signing_keys(
        self, requester: Requester, request: Request, body: UploadCrossSigningKeysBody
    ) -> JsonObject | Response:
        """Set cross-signing keys; who replaces any is authenticated for it."""
        keys = read_keys(
            requester.user_id,
            {
                "master": body.master_key,
                "self_signing": body.self_signing_key,
                "user_signing": body.user_signing_key,
            },
        )
        is_authorised = requester.appservice_id is not None
        if not await self.cross_signing.upload(requester.user_id, keys, is_authorised=is_authorised):
            flows = OAUTH_FLOWS if requester.is_oauth else PASSWORD_FLOWS
            wanted = operation("uploadCrossSigningKeys", requester, request, flows)
            outcome = await self.uia.require(wanted, body.auth)
            if isinstance(outcome, Challenge):
                return challenge_response(outcome)
            await self.cross_signing.upload(requester.user_id, keys, is_authorised=True)
        return {}

    @endpoint("POST", "/_matrix/client/v3/keys/signatures/upload", auth=Auth.USER, limit=Limit.UPDATES)
    async def upload_cross_signing_signatures(
        self, requester: Requester, body: dict[str, dict[str, JsonObject]]
    ) -> JsonObject:
        """Add signatures to keys."""
        return {"failures": await self.cross_signing.sign(requester.user_id, body)}
