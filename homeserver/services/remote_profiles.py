"""Profiles of other servers' users. Spec: server-server API, `GET /query/profile`."""

from typing import Final

import attrs

from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import FederationClient, federation_path
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, NotFound, Unknown
from homeserver.core.identifiers import UserID, parse_server_name, server_of
from homeserver.core.json import JsonObject, encode
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork

PATIENCE_MS: Final = 10_000

MOST_BYTES: Final = 128 * 1024
"""Twice what the specification lets a profile have."""

FRESH_MS: Final = 60_000
"""How long an answer is given again."""

REMEMBERED_BYTES: Final = 4 * 1024
"""Larger profiles are not remembered."""

MOST_AT_ONCE: Final = 200
"""Users whose servers are asked at the same time: anybody may look at profiles, also without an account."""


@attrs.frozen
class RemoteProfiles:
    """Asks other servers for the profiles of their users."""

    client: FederationClient
    clock: Clock
    _asking: SharedWork[UserID, JsonObject] = attrs.field(factory=SharedWork, init=False)
    _known: Cache[UserID, tuple[int, JsonObject | None]] = attrs.field(
        factory=lambda: Cache(2_000), init=False
    )

    async def profile_of(self, user_id: UserID) -> JsonObject:
        """The whole profile, as the user's server gives it.

        Errors: NotFound if it knows no such user; Forbidden if it does not tell; Unknown (502) if it cannot be
        asked, or answers nonsense; LimitExceeded if too many are asked already.
        """
        known = self._known.get(user_id)
        if known is not None and 0 <= self.clock.now_ts() - known[0] < FRESH_MS:
            if known[1] is None:
                raise NotFound("Profile not found")
            return known[1]
        if len(self._asking) >= MOST_AT_ONCE:
            raise LimitExceeded("Too many profiles are being looked for", retry_after_ms=1_000)
        return await self._asking.get(user_id, lambda: self._ask(user_id))

    async def _ask(self, user_id: UserID) -> JsonObject:
        try:
            server_name = parse_server_name(server_of(user_id) or "")
        except InvalidParam as error:
            raise NotFound("Profile not found") from error
        try:
            answer = await self.client.get(
                server_name,
                federation_path("v1", "query", "profile"),
                {"user_id": user_id},
                patience_ms=PATIENCE_MS,
                most_bytes=MOST_BYTES,
            )
        except RemoteError as error:
            if error.status == 404:
                self._known.put(user_id, (self.clock.now_ts(), None))
                raise NotFound("Profile not found") from error
            if error.status == 403:
                raise Forbidden("The user's server does not tell") from error
            raise Unknown(f"The user's server could not be asked: {error}", status=502) from error
        profile = {key: value for key, value in answer.items() if _is_field(key, value)}
        if len(encode(profile)) <= REMEMBERED_BYTES:
            self._known.put(user_id, (self.clock.now_ts(), profile))
        return profile


def _is_field(key: str, value: object) -> bool:
    """Whether clients may get the field: "it can be omitted or given the value `null`" is one and the same."""
    return isinstance(value, str) if key in (DISPLAY_NAME, AVATAR_URL) else value is not None
