"""Client-server API, `oauth_server_metadata.yaml`: where the OAuth 2.0 API is, and what it can do."""

from typing import Final

import msgspec

from homeserver.api.oauth_paths import ACCOUNT, AUTHORIZE, DEVICE, REGISTER, REVOKE, TOKEN
from homeserver.core.json import JsonObject, encode
from homeserver.core.oauth_clients import CODE, GRANT_TYPES, NO_SECRET
from homeserver.core.oauth_requests import CREATE, RESPONSE_MODES, S256
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import Headers, Response

ACTIONS: Final = (
    "org.matrix.profile",
    "org.matrix.devices_list",
    "org.matrix.device_view",
    "org.matrix.device_delete",
    "org.matrix.account_deactivate",
    "org.matrix.cross_signing_reset",
)
"""What the pages of accounts can do."""

HEADERS: Final[Headers] = (
    (b"Content-Type", b"application/json"),
    # "Cache the metadata appropriately based on HTTP caching headers": an hour is what MSC2965 shows.
    (b"Cache-Control", b"public, max-age=3600"),
)


class OauthServerMetadata(msgspec.Struct, frozen=True):
    """The metadata. `base_url` is where clients reach this server; `can_register`: new users may make accounts."""

    base_url: str
    can_register: bool

    @endpoint("GET", "/_matrix/client/v1/auth_metadata", auth=Auth.NONE, limit=Limit.UPDATES)
    @endpoint(
        "GET",
        "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
        auth=Auth.NONE,
        limit=Limit.UPDATES,
    )
    async def get_auth_metadata(self) -> Response:
        """The same for everybody."""
        return Response(200, HEADERS, encode(self._metadata()))

    def _metadata(self) -> JsonObject:
        base = self.base_url
        return {
            "issuer": issuer_of(base),
            "authorization_endpoint": base + AUTHORIZE,
            "token_endpoint": base + TOKEN,
            "revocation_endpoint": base + REVOKE,
            "registration_endpoint": base + REGISTER,
            "device_authorization_endpoint": base + DEVICE,
            "response_types_supported": [CODE],
            "response_modes_supported": list(RESPONSE_MODES),
            "grant_types_supported": list(GRANT_TYPES),
            "code_challenge_methods_supported": [S256],
            "prompt_values_supported": [CREATE] if self.can_register else [],
            "token_endpoint_auth_methods_supported": [NO_SECRET],
            "revocation_endpoint_auth_methods_supported": [NO_SECRET],
            "authorization_response_iss_parameter_supported": True,
            "account_management_uri": base + ACCOUNT,
            "account_management_actions_supported": list(ACTIONS),
        }


def issuer_of(base_url: str) -> str:
    """The name of this authorisation server."""
    return f"{base_url}/"
