"""Apps register as clients of the OAuth 2.0 API, by themselves, and are forgotten when nobody uses them.

Spec: client-server API, "Client registration"; RFC 7591.
"""

from typing import Final

import msgspec

from homeserver.core.json import JsonObject
from homeserver.core.oauth_clients import ClientMetadata
from homeserver.core.oauth_errors import OAuthError
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.storage import oauth_clients

UNUSED_MS: Final = 24 * 3_600_000
"""So long a client is remembered that nobody has let in: it registers anew whenever it wants to be let in."""

USED_MS: Final = 30 * 24 * 3_600_000
"""The same for one that somebody has let in. One that has a session is always remembered."""

PRUNED_AT_ONCE: Final = 100


class OAuthClient(msgspec.Struct, frozen=True):
    """A client that is registered."""

    client_id: str
    metadata: ClientMetadata

    def check_may(self, grant_type: str) -> None:
        """Errors: OAuthError if the client is not registered for such a grant."""
        if grant_type not in self.metadata.grant_types:
            raise OAuthError("unauthorized_client", "the client is not registered for this grant")


class OAuthClients(msgspec.Struct, frozen=True):
    """Registers clients, and finds them."""

    database: Database
    clock: Clock

    async def register(self, document: JsonObject) -> OAuthClient:
        """Register a client with what is known of its metadata. Errors: OAuthError."""
        metadata = ClientMetadata.of(document)
        now_ts = self.clock.now_ts()
        client = OAuthClient(metadata.client_id, metadata)
        await self.database.write(
            oauth_clients.put,
            client.client_id,
            metadata.document,
            now_ts=now_ts,
            until_ts=now_ts + UNUSED_MS,
        )
        return client

    async def find(self, client_id: str) -> OAuthClient | None:
        """The client, None if it is not known (any more)."""
        document = await self.database.look_up(oauth_clients.metadata_of, client_id)
        return (
            None if document is None else OAuthClient(client_id, msgspec.convert(document, _Stored).metadata)
        )

    async def claimed(self, client_id: str | None, grant_type: str) -> OAuthClient:
        """The client that makes a request for such a grant. Errors: OAuthError."""
        if client_id is None:
            raise OAuthError("invalid_request", "client_id is missing")
        client = await self.find(client_id)
        if client is None:
            raise OAuthError("invalid_client", "the client is not known: register again", status=401)
        client.check_may(grant_type)
        return client

    async def prune(self) -> None:
        """Forget clients that nobody uses. A loop's work."""
        pruned = PRUNED_AT_ONCE
        while pruned == PRUNED_AT_ONCE:
            pruned = await self.database.write_soon(
                oauth_clients.prune, now_ts=self.clock.now_ts(), limit=PRUNED_AT_ONCE
            )


class _Stored(msgspec.Struct):
    """A client's metadata as it is stored: `ClientMetadata.document`."""

    client_uri: str
    application_type: str
    redirect_uris: tuple[str, ...]
    response_types: tuple[str, ...]
    grant_types: tuple[str, ...]
    client_name: str | None = None
    logo_uri: str | None = None
    tos_uri: str | None = None
    policy_uri: str | None = None

    @property
    def metadata(self) -> ClientMetadata:
        """As it was."""
        return ClientMetadata(**msgspec.structs.asdict(self))
