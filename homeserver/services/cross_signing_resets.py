"""Replacing cross-signing keys, for who is logged in by OAuth 2.0: that is confirmed on this server's pages.

Spec: client-server API, "OAuth authentication".
"""

from typing import Final

import attrs
import msgspec

from homeserver.core.errors import Unauthorized
from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject, JsonValue
from homeserver.database.database import Database
from homeserver.runtime.clock import Clock
from homeserver.services.uia import Attempt, StageFailed
from homeserver.storage import cross_signing_resets

ACCOUNT_PAGE: Final = "/_matrix/account"
RESET_ACTION: Final = "org.matrix.cross_signing_reset"
"""Where users confirm it."""

ALLOWED_MS: Final = 600_000
"""Long enough to go back to the app."""


class CrossSigningResets(msgspec.Struct, frozen=True, eq=False):
    """Keeps who has confirmed it."""

    database: Database
    clock: Clock

    async def allow(self, user_id: UserID) -> None:
        """The user has confirmed it: it may be done once, soon."""
        until_ts = self.clock.now_ts() + ALLOWED_MS
        await self.database.write(cross_signing_resets.allow, user_id, until_ts=until_ts)

    async def take(self, user_id: UserID) -> bool:
        """Whether the user has confirmed it; that is used up."""
        return await self.database.write(cross_signing_resets.take, user_id, now_ts=self.clock.now_ts())


@attrs.frozen
class OAuthStage:
    """`m.oauth`; passed once the user has been to `url`."""

    resets: CrossSigningResets
    url: str
    params: JsonObject = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "params", {"url": self.url})

    async def attempt(self, auth: JsonObject, attempt: Attempt) -> JsonValue:  # noqa: ARG002 - of a Stage
        """Check that the user has confirmed it. Clients may ask before: that is no guess. Errors: StageFailed."""
        if attempt.user_id is None or not await self.resets.take(attempt.user_id):
            raise StageFailed(Unauthorized("It has not been confirmed yet, or too long ago"), is_guess=False)
        return True
