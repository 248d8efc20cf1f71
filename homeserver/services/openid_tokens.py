"""Showing other services who a user is, without giving them the account. Spec: client-server API, "OpenID"."""

from typing import Final

import msgspec

from homeserver.core.errors import Forbidden, UnknownToken
from homeserver.core.identifiers import UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import hash_of, new_token
from homeserver.storage import openid_tokens, users

LIFETIME_MS: Final = 3_600_000


class OpenIdTokens(msgspec.Struct, frozen=True):
    """Gives out OpenID tokens, and tells whose they are."""

    database: Database
    clock: Clock

    async def make(self, requester: Requester, user_id: UserID) -> tuple[str, int]:
        """A token of the requester, and for how many seconds it is good.

        Errors: Forbidden for another user's.
        """
        if user_id != requester.user_id:
            raise Forbidden("You can have tokens for yourself only")
        token = new_token()
        now_ts = self.clock.now_ts()
        await self.database.write(
            openid_tokens.add,
            hash_of(token),
            user_id=user_id,
            expires_ts=now_ts + LIFETIME_MS,
            now_ts=now_ts,
        )
        return token, LIFETIME_MS // 1000

    async def user_of(self, token: str) -> UserID:
        """Whose token it is. Errors: UnknownToken, also for an expired one, or one of a closed account."""
        return await self.database.read(user_of, hash_of(token), now_ts=self.clock.now_ts())


def user_of(tx: ReadTransaction, token_hash: bytes, *, now_ts: int) -> UserID:
    """As `OpenIdTokens.user_of`."""
    user_id = openid_tokens.user_of(tx, token_hash, now_ts=now_ts)
    user = None if user_id is None else users.find(tx, user_id)
    if user_id is None or user is None or user.is_deactivated or user.is_locked:
        raise UnknownToken("Access token unknown or expired")
    return user_id
