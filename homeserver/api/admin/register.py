"""Synapse's admin API, "Shared-Secret Registration": accounts for who knows the server's secret.

https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

import msgspec

from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.shared_secret_registration import (
    SharedSecretRegistrations,
    SharedSecretRequest,
)

BODY_LIMIT = 65_536


class NonceResponse(msgspec.Struct):
    """What the next request has to contain."""

    nonce: str


class RegisterBody(msgspec.Struct):
    """An account that is wanted."""

    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    user_type: str | None = None
    displayname: str | None = None
    inhibit_login: bool = False


class RegisterResponse(msgspec.Struct, omit_defaults=True):
    """The new account."""

    user_id: UserID
    home_server: ServerName
    access_token: str | None = None
    device_id: DeviceID | None = None


class Register(msgspec.Struct, frozen=True):
    """Making accounts with the shared secret."""

    registrations: SharedSecretRegistrations
    server_name: ServerName

    @endpoint("GET", "/_synapse/admin/v1/register", auth=Auth.NONE, limit=Limit.UPDATES)
    async def get_nonce(self) -> NonceResponse:
        """A nonce for one registration."""
        return NonceResponse(await self.registrations.new_nonce())

    @endpoint(
        "POST", "/_synapse/admin/v1/register", auth=Auth.NONE, limit=Limit.UPDATES, body_limit=BODY_LIMIT
    )
    async def register(self, body: RegisterBody) -> RegisterResponse:
        """Make an account."""
        registered = await self.registrations.register(
            SharedSecretRequest(
                nonce=body.nonce,
                username=body.username,
                password=body.password,
                is_admin=body.admin,
                user_type=body.user_type,
                display_name=body.displayname,
                inhibit_login=body.inhibit_login,
                mac=body.mac,
            )
        )
        session = registered.session
        return RegisterResponse(
            registered.user_id,
            self.server_name,
            None if session is None else session.access_token,
            None if session is None else session.device_id,
        )
