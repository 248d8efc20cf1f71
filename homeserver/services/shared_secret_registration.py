"""Making accounts with a secret that operators and test suites share with the server.

The protocol is that of Synapse's admin API, which tools speak: a nonce, and a MAC over it and the request.
"""

import hashlib
import hmac
from typing import Final

import attrs

from homeserver.core.errors import InvalidParam, Unknown, UserInUse
from homeserver.core.identifiers import UserID, localpart_of
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services import new_accounts
from homeserver.services.credentials import new_token
from homeserver.services.passwords import Passwords, check_acceptable
from homeserver.services.registration import Registered
from homeserver.services.sessions import SessionDraft, Sessions, open_session
from homeserver.services.user_names import UserNames
from homeserver.storage import registration_nonces

NONCE_LIFETIME_MS: Final = 60_000
USER_TYPES: Final = frozenset({"support", "bot"})


@attrs.frozen(kw_only=True)
class SharedSecretRequest:
    """An account that is wanted; `mac` is in hexadecimal digits, `user_type` None for people."""

    nonce: str
    username: str
    password: str = attrs.field(repr=False)
    is_admin: bool
    user_type: str | None
    display_name: str | None
    inhibit_login: bool
    mac: str

    def expected_mac(self, secret: str) -> str:
        """HMAC-SHA1 over nonce, name, password, role and, if any, user type, with NUL between them."""
        parts = [self.nonce, self.username, self.password, "admin" if self.is_admin else "notadmin"]
        if self.user_type:
            parts.append(self.user_type)
        text = "\0".join(parts).encode(errors="surrogatepass")
        return hmac.new(secret.encode(), text, hashlib.sha1).hexdigest()


@attrs.frozen
class SharedSecretRegistrations:
    """Registers users for who knows the secret. Without `secret` nobody can."""

    database: Database
    clock: Clock
    secret: str | None = attrs.field(repr=False)
    names: UserNames
    passwords: Passwords
    sessions: Sessions

    async def new_nonce(self) -> str:
        """A nonce, good once and for a minute. Errors: Unknown if there is no secret."""
        self._secret()
        nonce = new_token()
        now_ts = self.clock.now_ts()
        await self.database.write(
            registration_nonces.add, nonce, expires_ts=now_ts + NONCE_LIFETIME_MS, now_ts=now_ts
        )
        return nonce

    async def register(self, request: SharedSecretRequest) -> Registered:
        """Make an account. The nonce is used up, whatever comes of it.

        Errors: Unknown if the nonce is not good (400) or the MAC is wrong (403); InvalidUsername, Exclusive,
        UserInUse, WeakPassword, InvalidParam.
        """
        secret = self._secret()
        if not await self.database.write(registration_nonces.take, request.nonce, now_ts=self.clock.now_ts()):
            raise Unknown("unrecognised nonce")
        # A NUL within a part could make one request look like another.
        if "\0" in request.username + request.password + (request.user_type or ""):
            raise InvalidParam("a NUL is not allowed")
        if not hmac.compare_digest(request.expected_mac(secret).encode(), request.mac.lower().encode()):
            raise Unknown("HMAC incorrect", status=403)
        if request.user_type and request.user_type not in USER_TYPES:
            raise InvalidParam("Invalid user type")
        user_id = self.names.new_user_id(request.username)
        check_acceptable(request.password)
        draft = self.sessions.draft(device_id=None, display_name=None, wants_refresh_token=False)
        return await self.database.write(
            register,
            user_id,
            request,
            await self.passwords.hash(request.password),
            None if request.inhibit_login else draft,
            now_ts=self.clock.now_ts(),
        )

    def _secret(self) -> str:
        if self.secret is None:
            raise Unknown("Shared secret registration is not enabled")
        return self.secret


def register(
    tx: WriteTransaction,
    user_id: UserID,
    request: SharedSecretRequest,
    password_hash: str,
    draft: SessionDraft | None,
    *,
    now_ts: int,
) -> Registered:
    """Make the account, and open a session if one is wanted. Errors: UserInUse."""
    is_free = new_accounts.create(
        tx,
        user_id,
        password_hash=password_hash,
        display_name=request.display_name or localpart_of(user_id),
        is_admin=request.is_admin,
        user_type=request.user_type or None,
        now_ts=now_ts,
    )
    if not is_free:
        raise UserInUse
    return Registered(user_id, None if draft is None else open_session(tx, user_id, draft, now_ts=now_ts))
