"""Profiles of other servers' users. Spec: server-server API, `GET /query/profile`."""

from typing import Final

import attrs

from homeserver.clients.federation import FederationClient
from homeserver.core.errors import InvalidParam, LimitExceeded, NotFound
from homeserver.core.identifiers import UserID, parse_server_name, server_of
from homeserver.core.json import JsonObject, encode
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock
from homeserver.runtime.shared_work import SharedWork
from homeserver.services.remote_queries import query

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

        Errors: see `query`; LimitExceeded if too many are asked already.
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
        about, absent = {"user_id": user_id}, "Profile not found"
        try:
            answer = await query(
                self.client, server_name, "profile", about, most_bytes=MOST_BYTES, absent=absent
            )
        except NotFound:
            self._known.put(user_id, (self.clock.now_ts(), None))
            raise
        profile = {key: value for key, value in answer.items() if _is_field(key, value)}
        if len(encode(profile)) <= REMEMBERED_BYTES:
            self._known.put(user_id, (self.clock.now_ts(), profile))
        return profile


def _is_field(key: str, value: object) -> bool:
    """Whether clients may get the field: "it can be omitted or given the value `null`" is one and the same."""
    return isinstance(value, str) if key in (DISPLAY_NAME, AVATAR_URL) else value is not None
