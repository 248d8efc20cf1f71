"""Somebody is logged in to this server's own pages, in a browser: to let apps in, and to look after the account."""

from typing import Final

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.attempts import Guessing
from homeserver.services.credentials import hash_of, new_token
from homeserver.services.named_users import NamedUsers
from homeserver.services.passwords import CheckedPassword, Passwords, confirm
from homeserver.services.sessions import check_may_log_in
from homeserver.storage import browser_sessions
from homeserver.storage.browser_sessions import BrowserUser

__all__ = ["BrowserSessions", "BrowserUser"]

LIFETIME_MS: Final = 3_600_000
"""A browser may be one that others use, too."""


class BrowserSessions(msgspec.Struct, frozen=True):
    """Opens and closes sessions of browsers. A secret is what the browser has as its cookie."""

    database: Database
    clock: Clock
    passwords: Passwords
    named: NamedUsers
    lifetime_ms: int = LIFETIME_MS

    async def log_in(self, identifier: JsonObject, password: str, *, address: str) -> str | None:
        """The secret of a new session of who is meant; None if the password is wrong, or there is no such account.

        Errors: UserLocked; LimitExceeded.
        """
        name = await self.named.name_of(identifier, None)
        checked = await self.passwords.check(name, password, address=address)
        if checked is None:
            return None
        secret = new_token()
        is_open = await self.database.write(
            open_by_password,
            checked,
            hash_of(secret),
            expires_ts=self.clock.now_ts() + self.lifetime_ms,
            now_ts=self.clock.now_ts(),
        )
        return secret if is_open else None

    async def open(self, user_id: UserID) -> str:
        """The secret of a new session of who is known to be there. Errors: UserDeactivated, UserLocked, Forbidden."""
        secret = new_token()
        await self.database.write(
            open_session,
            hash_of(secret),
            user_id,
            expires_ts=self.clock.now_ts() + self.lifetime_ms,
            now_ts=self.clock.now_ts(),
        )
        return secret

    async def user_of(self, secret: str) -> BrowserUser | None:
        """Who is logged in; None if nobody is."""
        return await self.database.look_up(
            browser_sessions.user_of, hash_of(secret), now_ts=self.clock.now_ts()
        )

    async def close(self, secret: str) -> None:
        """Log out."""
        await self.database.write(browser_sessions.remove, hash_of(secret))

    async def is_password(self, user_id: UserID, password: str, *, address: str) -> bool:
        """Whether who is logged in knows the password, too. Errors: LimitExceeded."""
        checked = await self.passwords.check(
            user_id, password, address=address, guessing=Guessing.CONFIRMATION
        )
        return checked is not None and checked.user_id == user_id


def open_by_password(
    tx: WriteTransaction, checked: CheckedPassword, session_hash: bytes, *, expires_ts: int, now_ts: int
) -> bool:
    """Log in, if the password is still the one that was checked. Errors: UserLocked."""
    if not confirm(tx, checked):
        return False
    open_session(tx, session_hash, checked.user_id, expires_ts=expires_ts, now_ts=now_ts)
    return True


def open_session(
    tx: WriteTransaction, session_hash: bytes, user_id: UserID, *, expires_ts: int, now_ts: int
) -> None:
    """Log in. Errors: UserDeactivated, UserLocked, Forbidden."""
    check_may_log_in(tx, user_id)
    browser_sessions.add(tx, session_hash, user_id, expires_ts=expires_ts, now_ts=now_ts)
