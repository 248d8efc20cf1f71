"""Client-server API, `keys.yaml`: keys of devices."""

from typing import Annotated, Final

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.key_uploads import SIGNED_CURVE25519
from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.key_changes import KeyChanges
from homeserver.services.key_claims import KeyClaims
from homeserver.services.key_queries import KeyQueries
from homeserver.services.key_uploads import KeyUploads

Patience = Annotated[int, msgspec.Meta(ge=0)]

PATIENCE_MS: Final = 10_000

BODY_LIMIT: Final = 1024 * 1024
"""In bytes: questions about some thousands of users and devices."""


class UploadKeysBody(msgspec.Struct):
    """The keys of a device, as far as they are new."""

    device_keys: JsonObject | None = None
    one_time_keys: JsonObject | None = None
    fallback_keys: JsonObject | None = None
    # As clients called it before it was accepted.
    unstable_fallback_keys: JsonObject | None = msgspec.field(
        name="org.matrix.msc2732.fallback_keys", default=None
    )


class UploadKeysResponse(msgspec.Struct):
    """How many one-time keys the device has of each algorithm."""

    one_time_key_counts: dict[str, int]


class QueryKeysBody(msgspec.Struct):
    """Of whom, and of which devices; an empty list stands for all. `timeout` in milliseconds."""

    device_keys: dict[str, list[str]]
    timeout: Patience = PATIENCE_MS


class ClaimKeysBody(msgspec.Struct):
    """Algorithms by device, by user. `timeout` in milliseconds."""

    one_time_keys: dict[str, dict[str, str]]
    timeout: Patience = PATIENCE_MS


class ChangesQuery(msgspec.Struct):
    """Since when; `to` says what the client believes to be now."""

    from_: str = msgspec.field(name="from")
    to: str | None = None


class ChangesResponse(msgspec.Struct):
    """Whose keys have changed, and who is of no interest any more."""

    changed: list[UserID]
    left: list[UserID]


class Keys(msgspec.Struct, frozen=True):
    """The endpoints of device keys."""

    uploads: KeyUploads
    queries: KeyQueries
    claims: KeyClaims
    changes: KeyChanges

    @endpoint("POST", "/_matrix/client/v3/keys/upload", auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def upload_keys(self, requester: Requester, body: UploadKeysBody) -> UploadKeysResponse:
        """Store keys of the requester's device."""
        fallback = body.fallback_keys or body.unstable_fallback_keys
        counts = await self.uploads.upload(
            requester,
            device_keys=body.device_keys,
            one_time_keys=body.one_time_keys or {},
            fallback_keys=fallback or {},
        )
        return UploadKeysResponse({SIGNED_CURVE25519: 0, **counts.one_time_keys})

    @endpoint(
        "POST",
        "/_matrix/client/v3/keys/query",
        auth=Auth.GUEST_OK,
        limit=Limit.UPDATES,
        body_limit=BODY_LIMIT,
    )
    async def query_keys(self, requester: Requester, body: QueryKeysBody) -> RawJson:
        """Keys of devices, and cross-signing keys."""
        answer = await self.queries.query(requester.user_id, body.device_keys, patience_ms=body.timeout)
        return RawJson(answer)

    @endpoint(
        "POST",
        "/_matrix/client/v3/keys/claim",
        auth=Auth.GUEST_OK,
        limit=Limit.UPDATES,
        body_limit=BODY_LIMIT,
    )
    async def claim_keys(self, body: ClaimKeysBody) -> RawJson:
        """One-time keys, each for the requester alone."""
        return RawJson(await self.claims.claim(body.one_time_keys, patience_ms=body.timeout))

    @endpoint("GET", "/_matrix/client/v3/keys/changes", auth=Auth.USER, limit=Limit.SEARCH)
    async def get_keys_changes(self, requester: Requester, query: ChangesQuery) -> ChangesResponse:
        """Whose keys have changed, as of now."""
        if query.to is not None:
            parse_stream_token(query.to)
        found = await self.changes.since(requester.user_id, parse_stream_token(query.from_))
        return ChangesResponse(sorted(found.changed), sorted(found.left))
