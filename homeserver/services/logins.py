"""Logging in: by password, or by a token that a session of the same user was given."""

from typing import Final

import msgspec

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserID
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.credentials import hash_of, new_token
from homeserver.services.passwords import CheckedPassword, Passwords, confirm
from homeserver.services.sessions import Session, SessionDraft, open_session
from homeserver.storage import login_tokens

LOGIN_TOKEN_LIFETIME_MS: Final = 120_000
"""As the specification recommends."""


class Logins(msgspec.Struct, frozen=True):
    """Opens sessions for who can show that an account is theirs."""

    database: Database
    clock: Clock
    passwords: Passwords
    token_lifetime_ms: int = LOGIN_TOKEN_LIFETIME_MS

    async def by_password(self, name: str, password: str, draft: SessionDraft, *, address: str) -> Session:
        """Log in the user that `name`, a user ID or localpart, means.

        Errors: Forbidden, the same for a wrong password and for no such account; UserLocked; LimitExceeded.
        """
        checked = await self.passwords.check(name, password, address=address)
        if checked is None:
            raise _wrong()
        return await self.database.write(open_by_password, checked, draft, now_ts=self.clock.now_ts())

    async def by_token(self, token: str, draft: SessionDraft) -> Session:
        """Log in with a token of `make_token`, which is good once.

        Errors: Forbidden; UserLocked.
        """
        session = await self.database.write(open_by_token, hash_of(token), draft, now_ts=self.clock.now_ts())
        if session is None:
            raise Forbidden("The login token is not valid")
        return session

    async def make_token(self, user_id: UserID, *, lifetime_ms: int | None = None) -> tuple[str, int]:
        """A token for another client of the user to log in with, and how many milliseconds it is good.

        It is good for `lifetime_ms`, without that for as long as the specification recommends for `/login/get_token`.
        """
        token = new_token()
        now_ts = self.clock.now_ts()
        lifetime_ms = self.token_lifetime_ms if lifetime_ms is None else lifetime_ms
        await self.database.write(
            login_tokens.add,
            hash_of(token),
            user_id=user_id,
            expires_ts=now_ts + lifetime_ms,
            now_ts=now_ts,
        )
        return token, lifetime_ms


def open_by_password(
    tx: WriteTransaction, checked: CheckedPassword, draft: SessionDraft, *, now_ts: int
) -> Session:
    """Log in, if the password is still the one that was checked. Errors: Forbidden, UserLocked."""
    if not confirm(tx, checked):
        raise _wrong()
    return open_session(tx, checked.user_id, draft, now_ts=now_ts)


def open_by_token(
    tx: WriteTransaction, token_hash: bytes, draft: SessionDraft, *, now_ts: int
) -> Session | None:
    """Log in, and use the token up; None if it is not good. Errors: UserDeactivated, UserLocked."""
    user_id = login_tokens.take(tx, token_hash, now_ts=now_ts)
    if user_id is None:
        return None
    return open_session(tx, user_id, draft, now_ts=now_ts)


def _wrong() -> Forbidden:
    return Forbidden("The user name or the password is wrong")
